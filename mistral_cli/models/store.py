"""The model files on this machine: in the shared hub cache, in our own, and the user's own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mistral_cli.errors import MistralCliError, ModelNotAvailable, ModelUnusable
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.hub.cache import CachedFile, cached_ggufs
from mistral_cli.models.hub.leftovers import leftovers
from mistral_cli.models.references import ALIASES, parse_reference
from mistral_cli.models.sources import HubFile, LocalFile, PyPIWheel, Source, quant_of

if TYPE_CHECKING:
    from mistral_cli.system.config import Config

Place = Literal["hub cache", "our cache", "own file"]


@dataclass(frozen=True)
class Stored:
    """A model file on this machine: what to give to `-m`, where it is, and what was published.

    `size` is in bytes, or None when the file is a link that leads nowhere; `sha256` is None
    where nobody published one.
    """

    name: str
    path: Path
    place: Place
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Entry:
    """One line of `models list`: a model that has a name, here (`path`) or not.

    `size` is in bytes; what is left of an unfinished download has one and no path. `last_used` is
    when the file was last read, as the file system has it: Linux writes that down once a day at
    most, and not at all where a disk is mounted `noatime`.
    """

    name: str
    source: str
    path: Path | None
    size: int | None
    quantization: str | None
    last_used: datetime | None
    default: bool


def entries(config: Config) -> list[Entry]:
    """Every alias, the default model, every other file that is here, and what is left of
    unfinished downloads. No network."""
    names = dict.fromkeys([*ALIASES, *config.aliases])
    here = stored(config)
    if config.model not in [*names, *(each.name for each in here)]:
        names[config.model] = None
    listed = [_named(name, config) for name in names]
    known = {entry.path for entry in listed}
    others = [each for each in here if each.path not in known]
    unnamed = filter(None, (_unnamed(each, config) for each in others))
    return [*listed, *unnamed, *_unfinished(names, config)]


def stored(config: Config) -> list[Stored]:
    """Every model file here: the caches', and those that an alias or the default names."""
    files = {file.path: _in_hub_cache(file) for file in cached_ggufs()}
    for name in dict.fromkeys([*ALIASES, *config.aliases, config.model]):
        with suppress(MistralCliError):
            source = parse_reference(name, config)
            if (path := source.locate()) and path not in files:
                files[path] = _outside_hub_cache(name, path)
    return list(files.values())


def find(reference: str, config: Config) -> Stored:
    """The file of a model reference. Raises `ModelNotAvailable` when it is not here.

    A broken link of the hub cache counts as here: it can be looked at and removed.
    """
    source = parse_reference(reference, config)
    path = source.locate()
    for file in cached_ggufs():
        # A path into the cache may be written in several ways.
        same = path and file.path == path.absolute()
        if same or (path is None and file.size is None and _is(source, file)):
            return _in_hub_cache(file)
    return _outside_hub_cache(reference, path or locate(reference, config))


def locate(reference: str, config: Config) -> Path:
    """Where the file of a model reference is. Raises `ModelNotAvailable` when it is not here."""
    source = parse_reference(reference, config)
    if path := source.locate():
        return path
    if isinstance(source, LocalFile):
        hint = "Check the path; `mistral-cli models list` shows the models on this machine."
        raise ModelNotAvailable(f"there is no file {source.path}", hint=hint)
    raise ModelNotAvailable(
        f"{reference} is not on this machine",
        hint=f"Fetch it: mistral-cli models pull {shlex.quote(reference)}",
    )


@contextmanager
def unchanged_access_time(path: Path) -> Iterator[None]:
    """Read a file without counting as its use."""
    before = path.stat()
    try:
        yield
    finally:
        with suppress(OSError):  # somebody else's file
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _named(name: str, config: Config) -> Entry:
    default = name == config.model
    try:
        source = parse_reference(name, config)
        path = source.locate()
    except MistralCliError as error:
        return Entry(name, f"unusable: {error.message}", None, None, None, None, default)
    here = _here(name, source.describe(), path, source.quantization, default) if path else None
    return here or Entry(name, source.describe(), None, None, source.quantization, None, default)


def _unnamed(file: Stored, config: Config) -> Entry | None:
    default = file.name == config.model
    if file.size is None:
        source = f"{file.place}: a broken link"
        quantization = quant_of(file.path.name)
        return Entry(file.name, source, file.path, None, quantization, None, default)
    return _here(file.name, file.place, file.path, quant_of(file.path.name), default)


def _unfinished(names: Iterable[str], config: Config) -> list[Entry]:
    sources = []
    for name in names:
        with suppress(MistralCliError):
            sources.append(parse_reference(name, config))
    return [
        Entry(left.name, left.describe(), None, left.size, None, None, False)
        for left in leftovers(sources)
    ]


def _here(
    name: str, source: str, path: Path, quantization: str | None, default: bool
) -> Entry | None:
    """The line of a file, or None for one that has gone meanwhile."""
    try:
        found = path.stat()
    except OSError:
        return None
    quantization = quantization or _quantization_inside(path)
    last_used = datetime.fromtimestamp(int(found.st_atime), UTC)
    return Entry(name, source, path, found.st_size, quantization, last_used, default)


def _quantization_inside(path: Path) -> str | None:
    try:
        with unchanged_access_time(path):
            return read_gguf(path).quantization
    except (OSError, ModelUnusable):
        return None


def _in_hub_cache(file: CachedFile) -> Stored:
    name = HubFile(file.repo, file.filename, file.revision).describe()
    return Stored(name, file.path, "hub cache", file.size, file.sha256)


def _outside_hub_cache(name: str, path: Path) -> Stored:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelNotAvailable(
            f"{path} cannot be looked at: {error.strerror}", hint="mistral-cli models list"
        ) from error
    for wheel in ALIASES.values():
        if isinstance(wheel, PyPIWheel) and path.absolute() == wheel.locate():
            return Stored(name, path, "our cache", size, wheel.sha256)
    return Stored(name, path, "own file", size, None)


def _is(source: Source, file: CachedFile) -> bool:
    return isinstance(source, HubFile) and (source.repo, source.filename, source.revision) == (
        file.repo,
        file.filename,
        file.revision,
    )
