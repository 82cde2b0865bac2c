"""Other processes, watched."""

from __future__ import annotations

import time
from pathlib import Path


def gone(pid: int, seconds: float = 30) -> bool:
    """Whether the process ends in that time; one that was not waited for counts as ended."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
