"""Two processes that want the same file: one fetches it, the other waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mistral_cli.terminal import Terminal


@contextmanager
def one_at_a_time(lock_file: Path, what: str, terminal: Terminal) -> Iterator[None]:
    """Hold the lock file, waiting for a process that holds it and saying so.

    The kernel frees the lock of a process that was killed; the empty file stays.
    """
    from filelock import FileLock, Timeout

    lock_file.parent.mkdir(parents=True, exist_ok=True)
    # The mode that huggingface_hub gives its lock files: a cache may belong to a group.
    lock = FileLock(lock_file, mode=0o664)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        terminal.note(f"another process is fetching {what}; waiting for it ...")
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def is_held(lock_file: Path) -> bool:
    """Whether some process holds the lock file now."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock_file, mode=0o664, timeout=0):
            return False
    except Timeout:
        return True
