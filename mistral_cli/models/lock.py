"""Lock files: one process works on a file while others wait, or go on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

# huggingface_hub gives its lock files the same mode: a cache may belong to a group.
_MODE = 0o664


@contextmanager
def hold_lock(lock_file: Path, activity: str, reporter: Reporter) -> Iterator[None]:
    """Hold the lock file during the block, after waiting for any process that holds it.

    While it waits, the user reads the other process's `activity`, such as "fetching m.gguf". The
    kernel releases the lock of a process that was killed; the empty file stays.
    """
    from filelock import FileLock, Timeout

    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file, mode=_MODE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.note(f"another process is {activity}; waiting for it ...")
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def lock_if_free(lock_file: Path) -> Iterator[bool]:
    """Hold the lock file during the block if it is free; yield True if it was.

    A lock file that this user may not open (another user's) counts as held.
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
