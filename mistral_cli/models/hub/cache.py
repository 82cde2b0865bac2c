"""The shared hub cache: which GGUF files it contains, and how to delete them.

We read its folders ourselves, because huggingface_hub's own scan leaves out a whole repository
for one broken link. The layout is documented: `models--owner--name/snapshots/<commit>/<file>`
links to `blobs/<ETag>`, and `refs/<branch>` contains a commit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.hub.calls import hub_call

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CachedFile:
    """A GGUF file in the shared hub cache; `revision` is None for the main branch.

    `size` is in bytes, or None for a broken link.
    """

    repo: str
    filename: str
    revision: str | None
    path: Path
    size: int | None

    @property
    def etag(self) -> str | None:
        """The hub's name for the content; unknown on a file system without links."""
        return self.path.readlink().name if self.path.is_symlink() else None

    @property
    def sha256(self) -> str | None:
        """The digest that the hub published: the ETag of a large file."""
        return self.etag if _SHA256.fullmatch(self.etag or "") else None


def cached_ggufs() -> list[CachedFile]:
    """Return every GGUF file in the shared hub cache, sorted, whichever tool downloaded it.

    Leaves out folders that cannot be read. Does not use the network.
    """
    files = [file for folder in cache_folder().glob("models--*--*") for file in _files(folder)]
    return sorted(files, key=lambda file: (file.repo, file.filename, file.revision or ""))


@dataclass(frozen=True)
class CacheDeletion:
    """Files to delete from the cache; `freed` is the space in bytes that this frees."""

    freed: int
    execute: Callable[[], None]


def plan_deletion(paths: Sequence[Path]) -> CacheDeletion:
    """Plan to delete files of snapshots, and their data unless another snapshot links to it.

    Raises `ModelNotAvailable` if the cache is so damaged that the library cannot plan this.
    """
    with hub_call("the hub cache"):
        from huggingface_hub import scan_cache_dir

        folder = cache_folder()
        info = scan_cache_dir(folder)
        # The library resolves the folder.
        selected = {folder.resolve() / path.relative_to(folder) for path in paths}
        snapshots = [snapshot for repo in info.repos for snapshot in repo.revisions]
        files = [file for each in snapshots for file in each.files if file.file_path in selected]
        if len(files) < len(selected):
            raise next(iter(info.warnings), FileNotFoundError(f"{paths[0]} is gone"))
        strategy = info.delete_files(*files)

    def execute() -> None:
        with hub_call("the hub cache"):
            strategy.execute()
        deleted = (*strategy.files, *strategy.blobs, *strategy.snapshots, *strategy.repos)
        if remaining := [path for path in deleted if os.path.lexists(path)]:
            # The library logs what it has no permission to delete, and continues.
            raise ModelNotAvailable(
                f"cannot remove {remaining[0]}",
                hint=f"Check the permissions of {remaining[0].parent}.",
            )

    return CacheDeletion(strategy.expected_freed_size, execute)


def cache_folder() -> Path:
    """Return the folder that holds hub files for all tools; it may not exist yet."""
    with hub_call("the hub cache"):
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE).absolute()


def repo_folder(repo: str) -> Path:
    """Return the folder of one repository in the cache."""
    return cache_folder() / f"models--{repo.replace('/', '--')}"


def file_in_cache(repo: str, filename: str, revision: str | None) -> Path | None:
    """Return the file of a revision (a branch or a commit; None: main), if it is in the cache."""
    folder = repo_folder(repo)
    commit = _read_ref(folder / "refs" / (revision or "main")) or revision
    path = folder / "snapshots" / commit / filename if commit else None
    return path if path and path.is_file() else None


def repo_of(folder: Path) -> str:
    """Return the repository that a folder of the cache belongs to."""
    return folder.name.removeprefix("models--").replace("--", "/")


def unlinked_blobs(repo: str) -> list[Path]:
    """Return large files that no snapshot links to: their run ended before it made the link."""
    folder = repo_folder(repo)
    linked = {_target(path) for path in _walk(folder / "snapshots")}
    blobs = [path for path in _walk(folder / "blobs") if _SHA256.fullmatch(path.name)]
    return sorted(blob for blob in blobs if blob.name not in linked)


def _files(folder: Path) -> Iterator[CachedFile]:
    main = _read_ref(folder / "refs" / "main")
    for path in _walk(folder / "snapshots"):
        commit, *parts = path.relative_to(folder / "snapshots").parts
        if path.suffix.lower() != ".gguf" or not parts:
            continue
        with suppress(PermissionError):
            revision = None if commit == main else commit
            yield CachedFile(repo_of(folder), "/".join(parts), revision, path, _size(path))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file, and every link to a file, below a folder; skip unreadable folders."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _target(path: Path) -> str:
    try:
        return path.readlink().name
    except OSError:  # not a link, or deleted in the meantime
        return ""


def _read_ref(path: Path) -> str:
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
