"""Watch other processes, and wait for what they do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep  # bound now: some fixtures replace time.sleep


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `condition` is true; fail if that takes longer than `seconds`."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline
        sleep(0.002)


def gone(pid: int, seconds: float = 30) -> bool:
    """Whether the process ends within `seconds`; a zombie counts as ended."""
    deadline = monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        if monotonic() > deadline:
            return False
        sleep(0.02)


def wait_for_end(pid: int) -> None:
    """Wait until a child process has ended, and leave its status to the code under test.

    `gone` may be too early: the main thread of a killed process can be a zombie before the rest.
    """
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def children_of(pid: int | str = "self") -> list[int]:
    """Return the child processes, whichever thread started them; none if it has ended."""
    children = list[int]()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (thread / "children").read_text().split())
    return children
