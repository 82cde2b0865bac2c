"""What is known of a model that is not on this machine, without downloading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelNotAvailable, ModelUnusable
from mistral_cli.models.gguf import GGUF, read_gguf_start
from mistral_cli.models.gguf.checks import DAMAGED
from mistral_cli.models.hub import api as hub
from mistral_cli.models.hub.cache import CachedFile, cached_ggufs
from mistral_cli.models.hub.partial import parts, size_of
from mistral_cli.models.hub.transfer import is_here
from mistral_cli.models.sources import HubFile, HubRepo, PyPIWheel, Source

if TYPE_CHECKING:
    from mistral_cli.models.hub.remote import RemoteFile
    from mistral_cli.system.reporter import Reporter

# Bytes. Vocabularies make headers: 0.7 MB with 32,000 tokens, 8 MB with 128,000 and merges.
_FIRST_READ = 1 << 20
_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True)
class Download:
    """What a `pull` would do: where the file is from, its size in bytes, and what is here.

    `path` is the file on this machine if that is the published one, and then `missing`, the
    bytes still to be fetched, is 0. So it is where only the link to the bytes is missing.
    """

    source: str
    size: int
    missing: int
    path: Path | None


def look_up(source: Source, reporter: Reporter) -> Download:
    """What fetching `source` would download. Asks the hub, and downloads nothing.

    Raises `ModelNotAvailable` and `UsageError` as fetching would; a hub that cannot be asked
    does not matter where the file is here.
    """
    if isinstance(source, HubFile | HubRepo):
        return _look_up_hub(source, reporter)
    if isinstance(source, PyPIWheel):
        path = source.locate()
        return Download(source.describe(), source.size, 0 if path else source.size, path)
    path = source.fetch(reporter)  # a path: nothing to fetch, and it says what is missing
    return Download(source.describe(), path.stat().st_size, 0, path)


def read_header(source: HubFile | HubRepo, reporter: Reporter) -> GGUF:
    """The header of a hub file, read in ranges; a few megabytes of it at most travel.

    Raises `ModelNotAvailable`, and `ModelUnusable` for a file that `gguf.read` would refuse.
    """
    file, remote = _ask(source, reporter)
    name = Path(file.repo, file.filename)
    start, length = b"", _FIRST_READ
    while len(start) < min(remote.size, _LONGEST_HEADER):
        wanted = min(length, remote.size) - len(start)
        start += hub.read_range(remote, len(start), wanted, reporter)
        if model := read_gguf_start(name, start, remote.size):
            return model
        length *= 2
    raise ModelUnusable(f"{name}: has no GGUF header that ends", hint=DAMAGED)


def _look_up_hub(source: HubFile | HubRepo, reporter: Reporter) -> Download:
    try:
        file, remote = _ask(source, reporter)
    except ModelNotAvailable:
        if path := source.locate():
            return Download(source.describe(), size_of(path), 0, path)
        raise
    path = next((each.path for each in cached_ggufs() if _is(each, remote)), None)
    here = path or is_here(remote)
    missing = 0 if here else remote.size - _size_of_part(file, remote.etag)
    return Download(file.describe(), remote.size, missing, path)


def _ask(source: HubFile | HubRepo, reporter: Reporter) -> tuple[HubFile, RemoteFile]:
    reporter.status(f"{source.describe()}: asking the hub")
    try:
        file = source.choose(reporter)
        return file, hub.remote_file(file.repo, file.filename, file.revision, reporter)
    finally:
        reporter.clear_status()


def _is(cached: CachedFile, remote: RemoteFile) -> bool:
    same_name = cached.filename == remote.filename
    # Without links the cache does not say the ETag; a file is whole when it is there.
    same = cached.etag == remote.etag if cached.etag else same_name
    # The same content in another repository is no help: each has its own blobs.
    return same and cached.repo == remote.repo and cached.size == remote.size


def _size_of_part(file: HubFile, etag: str) -> int:
    left = parts(file.repo, file.filename)
    return sum(size_of(part) for part in left if part.name.startswith(etag))
