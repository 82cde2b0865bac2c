"""A private folder for this process's sockets and temporary files."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mistral_cli.errors import MistralCliError

_PREFIX = "mistral-cli-"
_LOCK = "lock"
_LONGEST_BASE = 64  # bytes: a Unix socket's path has 103 (macOS) with all that follows
_SHORT_BASE = Path("/tmp")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can enter; it is gone afterwards.

    Folders of killed processes (SIGKILL cannot be caught) are removed on the way. Raises
    MistralCliError where none can be made.
    """
    try:
        base = Path(tempfile.gettempdir())
        if len(os.fsencode(base)) > _LONGEST_BASE:
            base = _SHORT_BASE
        _sweep(base)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = _lock(folder)
    except OSError as error:
        raise MistralCliError(
            f"no temporary folder can be made: {error}",
            hint="Set TMPDIR to a folder on a disk with free space that you may write to.",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path) -> int:
    """Show other processes that this one lives: the kernel lets go of what a dead one held.

    A process id would not do: two containers may share the folder and number processes alike.
    """
    new = folder / "new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    with suppress(OSError):  # a file system without locks: the folder is never swept
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder / _LOCK)  # only now: whoever sees the name finds it held
    return lock


def _sweep(base: Path) -> None:
    for lock_file in base.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):  # held, another user's, or gone meanwhile
            lock = os.open(lock_file, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_file.parent, ignore_errors=True)
            finally:
                os.close(lock)
