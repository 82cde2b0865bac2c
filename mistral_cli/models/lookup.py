"""Inspects a model that is not on this machine, without downloading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelNotAvailable, ModelUnusable
from mistral_cli.models.gguf import GGUF, join_gguf, read_gguf_start
from mistral_cli.models.gguf.checks import DAMAGED
from mistral_cli.models.gguf.split import part_paths
from mistral_cli.models.hub.api import get_remote_file, read_range
from mistral_cli.models.hub.cache import CachedFile, cached_ggufs
from mistral_cli.models.hub.partial import size_of
from mistral_cli.models.hub.transfer import downloaded_size
from mistral_cli.models.sources import HubFile, HubRepo, ModelSource, PyPIWheel

if TYPE_CHECKING:
    from mistral_cli.models.hub.remote import RemoteFile
    from mistral_cli.system.reporter import Reporter

# Bytes. The vocabulary fills a header: 0.7 MB with 32,000 tokens, 8 MB with 128,000 and merges.
# Other parts of a split model only have the names of their tensors.
_FIRST_READ, _FIRST_READ_OF_OTHERS = 1 << 20, 1 << 16
_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True, kw_only=True)
class DownloadPlan:
    """The effect of a `pull`: the source of the file, its size in bytes, and how much is missing.

    Of a split model they are about all parts. `path` is the published file on this machine (the
    first part, if all are here), or None. `missing` counts the bytes to download.
    It can be 0 without a `path`, if only the link to the bytes is missing.
    """

    source: str
    size: int
    missing: int
    path: Path | None


def inspect_remote(source: ModelSource, reporter: Reporter) -> DownloadPlan:
    """Return what fetching `source` would download. Asks the hub, and downloads nothing.

    Raises `ModelNotAvailable` and `UsageError` like `fetch`. A hub that does not answer is not an
    error if the file is on this machine.
    """
    if isinstance(source, HubFile | HubRepo):
        return _inspect_hub(source, reporter)
    if isinstance(source, PyPIWheel):
        path = source.locate()
        missing = 0 if path else source.size
        return DownloadPlan(source=source.describe(), size=source.size, missing=missing, path=path)
    path = source.fetch(reporter)  # a local path: this checks that the file exists
    return DownloadPlan(source=source.describe(), size=_size(path), missing=0, path=path)


def read_remote_header(source: HubFile | HubRepo, reporter: Reporter) -> GGUF:
    """Read the header of a hub file in ranges, which takes a few megabytes at most.

    Of a split model it reads the headers of all parts. Raises `ModelNotAvailable`, and
    `ModelUnusable` for a file that `read_gguf` would refuse.
    """
    _, (first, *others) = _ask_hub(source, reporter)
    headers = [_read_header(first, _FIRST_READ, reporter)]
    headers += [_read_header(part, _FIRST_READ_OF_OTHERS, reporter) for part in others]
    return join_gguf(headers)


def _read_header(remote: RemoteFile, first_read: int, reporter: Reporter) -> GGUF:
    name = Path(remote.repo, remote.filename)
    start, length = b"", first_read
    while len(start) < min(remote.size, _LONGEST_HEADER):
        count = min(length, remote.size) - len(start)
        start += read_range(remote, len(start), count, reporter)
        if header := read_gguf_start(name, start, remote.size):
            return header
        length *= 2
    raise ModelUnusable(f"{name}: has no complete GGUF header", hint=DAMAGED)


def _inspect_hub(source: HubFile | HubRepo, reporter: Reporter) -> DownloadPlan:
    try:
        file, parts = _ask_hub(source, reporter)
    except ModelNotAvailable:
        if not (path := source.locate()):
            raise
        return DownloadPlan(source=source.describe(), size=_size(path), missing=0, path=path)
    cached = cached_ggufs()
    paths = [next((c.path for c in cached if _is_same(c, part)), None) for part in parts]
    return DownloadPlan(
        source=file.describe(),
        size=sum(part.size for part in parts),
        missing=sum(
            0 if path else part.size - downloaded_size(part)
            for path, part in zip(paths, parts, strict=True)
        ),
        # Of another commit, some parts may be without a link in its folder.
        path=paths[0] if len({path and path.parent for path in paths}) == 1 else None,
    )


def _ask_hub(source: HubFile | HubRepo, reporter: Reporter) -> tuple[HubFile, list[RemoteFile]]:
    """Return the file, and the metadata of all its parts."""
    reporter.status(f"{source.describe()}: asking the hub")
    try:
        file = source.select_file(reporter)
        return file, [
            get_remote_file(file.repo, name, file.revision, reporter) for name in file.filenames
        ]
    finally:
        reporter.clear_status()


def _size(path: Path) -> int:
    return sum(size_of(part) for part in part_paths(path))


def _is_same(cached: CachedFile, remote: RemoteFile) -> bool:
    same_name = cached.filename == remote.filename
    # A cache without links does not store the ETag; a file in it is complete.
    same = cached.etag == remote.etag if cached.etag else same_name
    # The same content in another repository does not help: each repository has its own blobs.
    return same and cached.repo == remote.repo and cached.size == remote.size
