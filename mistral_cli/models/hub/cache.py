"""What the shared hub cache holds, and how to take it out.

It is read from its folders, since huggingface_hub's own scan leaves out a whole repository for
one broken link. The layout is documented: `models--owner--name/snapshots/<commit>/<file>` links
to `blobs/<ETag>`, and `refs/<branch>` holds a commit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.hub.calls import seam

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CachedFile:
    """A GGUF file in the shared hub cache; `revision` is None for the main branch.

    `size` is in bytes, or None when the link leads nowhere.
    """

    repo: str
    filename: str
    revision: str | None
    path: Path
    size: int | None

    @property
    def etag(self) -> str | None:
        """What the hub names the file's content by; unknown on a file system without links."""
        return self.path.readlink().name if self.path.is_symlink() else None

    @property
    def sha256(self) -> str | None:
        """The digest that the hub published, which is the ETag of a large file."""
        return self.etag if _SHA256.fullmatch(self.etag or "") else None


def cached_ggufs() -> list[CachedFile]:
    """Every GGUF file in the shared hub cache, whoever downloaded it, sorted. No network.

    Folders that cannot be read are left out.
    """
    found = [file for folder in cache_folder().glob("models--*--*") for file in _files(folder)]
    return sorted(found, key=lambda file: (file.repo, file.filename, file.revision or ""))


@dataclass(frozen=True)
class Removal:
    """Files to be taken out of the cache, and the bytes that this frees."""

    freed: int
    run: Callable[[], None]


def plan_removal(paths: Sequence[Path]) -> Removal:
    """How to remove files of snapshots, and their data where no other snapshot has it.

    Raises `ModelNotAvailable` when the cache is too damaged for the library to say that.
    """
    with seam("the hub cache"):
        from huggingface_hub import scan_cache_dir

        folder = cache_folder()
        info = scan_cache_dir(folder)
        # The library resolves the folder.
        wanted = {folder.resolve() / path.relative_to(folder) for path in paths}
        snapshots = [snapshot for repo in info.repos for snapshot in repo.revisions]
        files = [file for each in snapshots for file in each.files if file.file_path in wanted]
        if len(files) < len(wanted):
            raise next(iter(info.warnings), FileNotFoundError(f"{paths[0]} is gone"))
        strategy = info.delete_files(*files)

    def run() -> None:
        with seam("the hub cache"):
            strategy.execute()
        gone = (*strategy.files, *strategy.blobs, *strategy.snapshots, *strategy.repos)
        if left := [path for path in gone if os.path.lexists(path)]:
            # The library logs what it may not delete, and goes on.
            raise ModelNotAvailable(
                f"cannot remove {left[0]}", hint=f"Check the permissions of {left[0].parent}."
            )

    return Removal(strategy.expected_freed_size, run)


def cache_folder() -> Path:
    """Where the hub's files are shared with other tools; may not exist yet."""
    with seam("the hub cache"):
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE).absolute()


def repo_folder(repo: str) -> Path:
    """The folder of one repository in the cache."""
    with seam(repo):
        from huggingface_hub.file_download import repo_folder_name

        return cache_folder() / repo_folder_name(repo_id=repo, repo_type="model")


def repo_of(folder: Path) -> str:
    """The repository that has this folder in the cache."""
    return folder.name.removeprefix("models--").replace("--", "/")


def unlinked_blobs(repo: str) -> list[Path]:
    """The contents of large files that no snapshot names: their run ended before the link."""
    folder = repo_folder(repo)
    linked = {_target(path) for path in _walk(folder / "snapshots")}
    blobs = [path for path in _walk(folder / "blobs") if _SHA256.fullmatch(path.name)]
    return sorted(blob for blob in blobs if blob.name not in linked)


def _files(folder: Path) -> Iterator[CachedFile]:
    main = _read(folder / "refs" / "main")
    for path in _walk(folder / "snapshots"):
        commit, *parts = path.relative_to(folder / "snapshots").parts
        if path.suffix.lower() != ".gguf" or not parts:
            continue
        with suppress(PermissionError):
            revision = None if commit == main else commit
            yield CachedFile(repo_of(folder), "/".join(parts), revision, path, _size(path))


def _walk(folder: Path) -> Iterator[Path]:
    """Every file and link to one below a folder; what cannot be read is left out."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _target(path: Path) -> str:
    try:
        return path.readlink().name
    except OSError:  # it is no link, or is gone
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except PermissionError:
        raise
    except OSError:
        return None
