"""A private folder for this process's sockets and temporary files."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mistral_cli.errors import MistralCliError

_NAME = re.compile(r"mistral-cli-(\d+)-")
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
        folder = Path(tempfile.mkdtemp(prefix=f"mistral-cli-{os.getpid()}-", dir=base))
    except OSError as error:
        raise MistralCliError(
            f"no temporary folder can be made: {error}",
            hint="Set TMPDIR to a folder on a disk with free space that you may write to.",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(base: Path) -> None:
    for folder in base.glob("mistral-cli-*"):
        match = _NAME.match(folder.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
