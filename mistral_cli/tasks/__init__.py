"""The tasks: one file each, with its options and its strategy.

A task is a function from options to a `Task`; its docstring is the help page. A line in `TASKS`
makes it a command, and a command of `batch`.
"""

from __future__ import annotations

TASKS = {
    "generate": "mistral_cli.tasks.generate:generate",
    "translate": "mistral_cli.tasks.translate:translate",
    "summarize": "mistral_cli.tasks.summarize:summarize",
    "json-extract": "mistral_cli.tasks.json_extract:json_extract",
}
"""Name on the command line → `module:function`."""
