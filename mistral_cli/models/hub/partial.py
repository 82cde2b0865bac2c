"""What interrupted downloads left in the shared hub cache, for a later run to continue."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.hub.cache import repo_folder
from mistral_cli.models.lock import if_free

_LEFTOVER = re.compile(r"[0-9a-f]{64}(?P<part>\.mistral-cli-[0-9a-f]{8}\.incomplete)?")


def part_suffix(filename: str) -> str:
    """How the name of a part ends that is of this file of its repository; an ETag precedes it.

    `hf cache` takes *.incomplete for what it is.
    """
    return f".mistral-cli-{hashlib.sha256(filename.encode()).hexdigest()[:8]}.incomplete"


def parts(repo: str, filename: str | None = None) -> list[Path]:
    """The parts of one file, of whatever version, or of every file of the repository."""
    suffix = part_suffix(filename) if filename else ".mistral-cli-*.incomplete"
    return sorted(repo_folder(repo).glob(f"blobs/*{suffix}"))


def is_part(path: Path) -> bool:
    """Whether a file of the cache is a part of ours."""
    found = _LEFTOVER.fullmatch(path.name)
    return found is not None and found["part"] is not None


def is_leftover(path: Path) -> bool:
    """Whether a file of the cache is a part, or a blob under its own name."""
    return _LEFTOVER.fullmatch(path.name) is not None


def size_of(path: Path) -> int:
    """The size of a part or blob in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextmanager
def idle(blobs: Sequence[Path]) -> Iterator[None]:
    """Keep other processes from working on parts, or on blobs without a link.

    Raises `ModelNotAvailable` while one is at it.
    """
    with ExitStack() as stack:
        for blob in blobs:
            if not stack.enter_context(if_free(_lock(blob))):
                raise ModelNotAvailable(
                    f"another process is fetching {blob}, or it is another user's",
                    hint="Wait for it, or stop it, then try again.",
                )
        yield


def _lock(blob: Path) -> Path:
    folder = blob.parent.parent
    return folder.parent / ".locks" / folder.name / f"{blob.name.partition('.')[0]}.lock"
