"""Inspects a model that is not on this machine, without downloading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelNotAvailable, ModelUnusable
from mistral_cli.models.gguf import GGUF, read_gguf_start
from mistral_cli.models.gguf.checks import DAMAGED
from mistral_cli.models.hub.api import get_remote_file, read_range
from mistral_cli.models.hub.cache import CachedFile, cached_ggufs
from mistral_cli.models.hub.partial import partial_files, size_of
from mistral_cli.models.hub.transfer import is_cached
from mistral_cli.models.sources import HubFile, HubRepo, ModelSource, PyPIWheel

if TYPE_CHECKING:
    from mistral_cli.models.hub.remote import RemoteFile
    from mistral_cli.system.reporter import Reporter

# Bytes. The vocabulary fills a header: 0.7 MB with 32,000 tokens, 8 MB with 128,000 and merges.
_FIRST_READ = 1 << 20
_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True, kw_only=True)
class DownloadPlan:
    """The effect of a `pull`: the source of the file, its size in bytes, and how much is missing.

    `path` is the published file on this machine, or None. `missing` counts the bytes to download.
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
    return DownloadPlan(source=source.describe(), size=path.stat().st_size, missing=0, path=path)


def read_remote_header(source: HubFile | HubRepo, reporter: Reporter) -> GGUF:
    """Read the header of a hub file in ranges, which takes a few megabytes at most.

    Raises `ModelNotAvailable`, and `ModelUnusable` for a file that `read_gguf` would refuse.
    """
    file, remote = _ask_hub(source, reporter)
    name = Path(file.repo, file.filename)
    start, length = b"", _FIRST_READ
    while len(start) < min(remote.size, _LONGEST_HEADER):
        count = min(length, remote.size) - len(start)
        start += read_range(remote, len(start), count, reporter)
        if model := read_gguf_start(name, start, remote.size):
            return model
        length *= 2
    raise ModelUnusable(f"{name}: has no complete GGUF header", hint=DAMAGED)


def _inspect_hub(source: HubFile | HubRepo, reporter: Reporter) -> DownloadPlan:
    try:
        file, remote = _ask_hub(source, reporter)
    except ModelNotAvailable:
        if not (path := source.locate()):
            raise
        return DownloadPlan(source=source.describe(), size=size_of(path), missing=0, path=path)
    path = next((each.path for each in cached_ggufs() if _is_same(each, remote)), None)
    complete = path or is_cached(remote)
    missing = 0 if complete else remote.size - _size_of_partial(file, remote.etag)
    return DownloadPlan(source=file.describe(), size=remote.size, missing=missing, path=path)


def _ask_hub(source: HubFile | HubRepo, reporter: Reporter) -> tuple[HubFile, RemoteFile]:
    reporter.status(f"{source.describe()}: asking the hub")
    try:
        file = source.select_file(reporter)
        return file, get_remote_file(file.repo, file.filename, file.revision, reporter)
    finally:
        reporter.clear_status()


def _is_same(cached: CachedFile, remote: RemoteFile) -> bool:
    same_name = cached.filename == remote.filename
    # A cache without links does not store the ETag; a file in it is complete.
    same = cached.etag == remote.etag if cached.etag else same_name
    # The same content in another repository does not help: each repository has its own blobs.
    return same and cached.repo == remote.repo and cached.size == remote.size


def _size_of_partial(file: HubFile, etag: str) -> int:
    partial = partial_files(file.repo, file.filename)
    return sum(size_of(path) for path in partial if path.name.startswith(etag))
