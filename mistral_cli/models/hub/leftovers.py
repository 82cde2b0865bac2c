"""What downloads have left in the shared hub cache that is no file of a snapshot yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.models.disk import format_size
from mistral_cli.models.hub import api as hub
from mistral_cli.models.hub.cache import cache_folder, repo_of, unlinked_blobs
from mistral_cli.models.hub.partial import is_part, part_suffix, parts, size_of
from mistral_cli.models.sources import HubFile, Source

_MAGIC = b"GGUF"


@dataclass(frozen=True)
class Leftover:
    """A part of a file, or all its bytes without a link; `size` is in bytes.

    `name` is the file's model reference where that is known, otherwise its repository: the
    cache knows both by their content only.
    """

    name: str
    path: Path
    size: int

    def describe(self) -> str:
        """For people: what it is, and what becomes of it."""
        if is_part(self.path):
            return f"part of a download, {format_size(self.size)}; pull continues it"
        return f"a download without its link, {format_size(self.size)}; pull makes it"


def leftovers(known: Iterable[Source]) -> list[Leftover]:
    """Every leftover in the cache, with the names of those that are of `known` files."""
    files = [source for source in known if isinstance(source, HubFile)]
    found = []
    for folder in sorted(cache_folder().glob("models--*--*")):
        repo = repo_of(folder)
        found += [
            Leftover(_name(path, repo, files), path, size)
            for path in (*parts(repo), *filter(_is_gguf, unlinked_blobs(repo)))
            if (size := size_of(path))
        ]
    return found


def of_file(file: HubFile) -> list[Path]:
    """What is left of one file. Asks the hub, where only its answer tells whose bytes they are.

    Raises `ModelNotAvailable` when that cannot be asked.
    """
    if found := parts(file.repo, file.filename):
        return found
    if file.locate() or not (blobs := unlinked_blobs(file.repo)):
        return []
    etag = hub.remote_file(file.repo, file.filename, file.revision).etag
    return [blob for blob in blobs if blob.name == etag]


def _name(path: Path, repo: str, files: Sequence[HubFile]) -> str:
    for file in files:
        if file.repo == repo and path.name.endswith(part_suffix(file.filename)):
            return file.describe()
    return repo


def _is_gguf(path: Path) -> bool:
    """Whether it can be a model: other tools leave their blobs here as well."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False
