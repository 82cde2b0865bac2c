"""The leftovers of unfinished downloads: partial files, and whole files without a link."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.models.disk import format_size
from mistral_cli.models.hub.api import get_remote_file
from mistral_cli.models.hub.cache import cache_folder, repo_of, unlinked_blobs
from mistral_cli.models.hub.partial import is_partial, partial_files, partial_suffix, size_of
from mistral_cli.models.sources import HubFile, ModelSource

_MAGIC = b"GGUF"


@dataclass(frozen=True)
class Leftover:
    """A partial file, or a whole file that no snapshot links to; `size` is in bytes.

    `name` is the model reference of the file if it is known, otherwise the repository: the
    cache stores both kinds under the hash of their content.
    """

    name: str
    path: Path
    size: int

    def describe(self) -> str:
        """Return for a person what it is, and how to continue the download."""
        if is_partial(self.path):
            return f"partial download, {format_size(self.size)}; `models pull` continues it"
        return f"download without a link, {format_size(self.size)}; `models pull` adds the link"


def find_leftovers(sources: Iterable[ModelSource]) -> list[Leftover]:
    """Return every leftover in the cache; those of a file in `sources` get its reference."""
    files = [source for source in sources if isinstance(source, HubFile)]
    leftovers = []
    for folder in sorted(cache_folder().glob("models--*--*")):
        repo = repo_of(folder)
        leftovers += [
            Leftover(_name(path, repo, files), path, size)
            for path in (*partial_files(repo), *filter(_is_gguf, unlinked_blobs(repo)))
            if (size := size_of(path))
        ]
    return leftovers


def leftovers_of(file: HubFile) -> list[Path]:
    """Return the leftovers of one file, or of all parts of a split model.

    Asks the hub if only its answer shows which file an unlinked blob belongs to. Raises
    `ModelNotAvailable` if the hub does not answer.
    """
    leftovers = list[Path]()
    for name, cached in zip(file.filenames, file.cached_parts(), strict=True):
        if partial := partial_files(file.repo, name):
            leftovers += partial
        elif not cached and (blobs := unlinked_blobs(file.repo)):
            etag = get_remote_file(file.repo, name, file.revision).etag
            leftovers += [blob for blob in blobs if blob.name == etag]
    return leftovers


def _name(path: Path, repo: str, files: Sequence[HubFile]) -> str:
    for file in files:
        suffixes = tuple(partial_suffix(name) for name in file.filenames)
        if file.repo == repo and path.name.endswith(suffixes):
            return file.describe()
    return repo


def _is_gguf(path: Path) -> bool:
    """Return True if the blob can be a model: other tools leave their blobs here too."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False
