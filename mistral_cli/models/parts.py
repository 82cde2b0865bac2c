"""What interrupted downloads left in the shared hub cache, for a later run to continue."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.hub_seam import seam
from mistral_cli.models.one_at_a_time import is_held


def part_suffix(filename: str) -> str:
    """How the name of a part ends that is of this file of its repository; an ETag precedes it.

    `hf cache` takes *.incomplete for what it is.
    """
    return f".mistral-cli-{hashlib.sha256(filename.encode()).hexdigest()[:8]}.incomplete"


def parts(repo: str, filename: str | None = None) -> list[Path]:
    """The parts of one file, of whatever version, or of every file of the repository."""
    with seam(repo):
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"))
    suffix = part_suffix(filename) if filename else ".mistral-cli-*.incomplete"
    return sorted(folder.glob(f"blobs/*{suffix}"))


def is_part(path: Path) -> bool:
    """Whether a file of the cache is a part."""
    return path.suffix == ".incomplete"


def check_idle(part: Path) -> None:
    """Raise `ModelNotAvailable` while a process is fetching the rest of `part`."""
    folder = part.parent.parent
    lock = folder.parent / ".locks" / folder.name / f"{part.name.partition('.')[0]}.lock"
    if lock.exists() and is_held(lock):
        raise ModelNotAvailable(
            f"another process is fetching {part}", hint="Wait for it, or stop it, then try again."
        )
