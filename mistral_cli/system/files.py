"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`: after a crash there is the old file or the new one.

    A link is followed; what is no ordinary file (a pipe, `/dev/null`) is written to directly.
    Raises OSError.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with replacing(path, temporary_beside(path)) as file:
        file.write(data)


def temporary_beside(path: Path) -> Path:
    """A new name for `replacing`."""
    return path.with_name(f".mistral-cli-{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def replacing(path: Path, temporary: Path) -> Iterator[BinaryIO]:
    """Yield a new file, `temporary` beside `path`, that takes its place if all goes well.

    Raises OSError.
    """
    try:
        # Not `tempfile`: its files are the owner's alone, and these obey the umask.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or deleted there outlive a power cut, where that can be."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
