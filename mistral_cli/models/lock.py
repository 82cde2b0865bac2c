"""Two processes that want the same file: one works on it, the other waits or does without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

# The mode that huggingface_hub gives its lock files: a cache may belong to a group.
_MODE = 0o664


@contextmanager
def one_at_a_time(lock_file: Path, doing: str, reporter: Reporter) -> Iterator[None]:
    """Hold the lock file, waiting for a process that holds it and saying what it is `doing`.

    The kernel frees the lock of a process that was killed; the empty file stays.
    """
    from filelock import FileLock, Timeout

    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file, mode=_MODE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.note(f"another process is {doing}; waiting for it ...")
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def if_free(lock_file: Path) -> Iterator[bool]:
    """Hold the lock file if no process holds it now, and yield whether it is held.

    A lock file that this user may not open, another user's, counts as that one's.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file, mode=_MODE)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
