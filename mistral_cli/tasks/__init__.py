"""The tasks: one file each, with its options and its strategy.

Each file here is a task: a command, and a command of `batch`. It has a function of the same name
that takes the options and returns a `Task`; the docstring of the function is the help text.
"""

from __future__ import annotations

from pathlib import Path

_FILES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))

TASKS = {name.replace("_", "-"): f"{__name__}.{name}:{name}" for name in _FILES}
"""Name on the command line → `module:function`."""
