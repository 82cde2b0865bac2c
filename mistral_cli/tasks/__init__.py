"""The tasks: one file each, with its options and its strategy.

A file here is a task: a command, and a command of `batch`. It has a function of its own name,
from options to a `Task`, whose docstring is the help page.
"""

from __future__ import annotations

from pathlib import Path

_FILES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))

TASKS = {name.replace("_", "-"): f"{__name__}.{name}:{name}" for name in _FILES}
"""Name on the command line → `module:function`."""
