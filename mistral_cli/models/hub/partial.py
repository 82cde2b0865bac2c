"""Partial downloads in the shared hub cache, which a later run continues."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.hub.cache import repo_folder
from mistral_cli.models.lock import lock_if_free

_LEFTOVER = re.compile(r"[0-9a-f]{64}(?P<partial>\.mistral-cli-[0-9a-f]{8}\.incomplete)?")


def partial_suffix(filename: str) -> str:
    """Return the suffix, after the ETag, of the partial downloads of one file of a repository.

    It ends in `.incomplete`, which `hf cache` recognizes.
    """
    return f".mistral-cli-{hashlib.sha256(filename.encode()).hexdigest()[:8]}.incomplete"


def partial_files(repo: str, filename: str | None = None) -> list[Path]:
    """Return the partial downloads of a repository, or of one file of it (of any revision)."""
    suffix = partial_suffix(filename) if filename else ".mistral-cli-*.incomplete"
    return sorted(repo_folder(repo).glob(f"blobs/*{suffix}"))


def is_partial(path: Path) -> bool:
    """Return True for a partial download of this program."""
    match = _LEFTOVER.fullmatch(path.name)
    return match is not None and match["partial"] is not None


def is_leftover(path: Path) -> bool:
    """Return True for a partial download, or for a blob (a file named by its SHA-256)."""
    return _LEFTOVER.fullmatch(path.name) is not None


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if there is no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextmanager
def locked_blobs(blobs: Sequence[Path]) -> Iterator[None]:
    """Keep other processes from downloading to these partial files or unlinked blobs.

    Raises `ModelNotAvailable` if another process is downloading to one of them.
    """
    with ExitStack() as stack:
        for blob in blobs:
            if not stack.enter_context(lock_if_free(_lock_file(blob))):
                raise ModelNotAvailable(
                    f"another process is downloading {blob}, or it belongs to another user",
                    hint="Wait for that process, or stop it, and then try again.",
                )
        yield


def _lock_file(blob: Path) -> Path:
    folder = blob.parent.parent
    return folder.parent / ".locks" / folder.name / f"{blob.name.partition('.')[0]}.lock"
