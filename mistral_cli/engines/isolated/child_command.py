"""Run one of our modules in a child process."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def child_command(module: str, *arguments: object) -> tuple[list[str], dict[str, str]]:
    """Its command line and its environment.

    The child finds this package where we have it, and nothing in the current folder.
    """
    here = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return [sys.executable, "-m", module, *map(str, arguments)], environment
