"""The model files on this machine: in the shared hub cache, in our cache, and the user's own."""

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
from mistral_cli.models.gguf.kinds import other_kind
from mistral_cli.models.gguf.reader import open_checked
from mistral_cli.models.hub.cache import CachedFile, cached_ggufs
from mistral_cli.models.hub.leftovers import find_leftovers
from mistral_cli.models.references import ALIASES, parse_reference
from mistral_cli.models.sources import HubFile, LocalFile, ModelSource, PyPIWheel, quant_of

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.config import Config

Storage = Literal["hub cache", "our cache", "user's file"]


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A model file on this machine; `name` is its model reference.

    `size` is in bytes, or None for a broken link. `sha256` is the published digest, or None if
    there is none.
    """

    name: str
    path: Path
    storage: Storage
    size: int | None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """One line of `models list`: a model that has a name or is on this machine.

    `path` is None for a model that is not on this machine. `size` is in bytes; the leftovers of
    an unfinished download have a size and no path. `last_used` is when the file was last read,
    according to the file system: Linux records that at most once a day, and never on a disk
    that is mounted with `noatime`.
    """

    name: str
    source: str
    path: Path | None = None
    size: int | None = None
    quantization: str | None = None
    last_used: datetime | None = None
    default: bool = False


def list_models(config: Config) -> list[ListedModel]:
    """Return the aliases, the default model, other files here, and unfinished downloads.

    Does not use the network.
    """
    names = dict.fromkeys([*ALIASES, *config.aliases])
    stored = stored_files(config)
    if config.model not in [*names, *(file.name for file in stored)]:
        names[config.model] = None
    named = [_named(name, config) for name in names]
    known = {model.path for model in named}
    others = [file for file in stored if file.path not in known]
    unnamed = filter(None, (_unnamed(file, config) for file in others))
    return [*named, *unnamed, *_unfinished(names, config)]


def stored_files(config: Config) -> list[StoredFile]:
    """Return every model file in the caches, and those that an alias or the default names."""
    files = {file.path: _in_hub_cache(file) for file in cached_ggufs()}
    for name in dict.fromkeys([*ALIASES, *config.aliases, config.model]):
        with suppress(MistralCliError):
            source = parse_reference(name, config)
            if (path := source.locate()) and path not in files:
                files[path] = _outside_hub_cache(name, path)
    return list(files.values())


def find_stored(reference: str, config: Config) -> StoredFile:
    """Return the file of a model reference. Raises `ModelNotAvailable` if it is not here.

    Also finds a broken link in the hub cache, which can be inspected and removed.
    """
    source = parse_reference(reference, config)
    path = source.locate()
    for file in cached_ggufs():
        # There are several ways to write a path into the cache.
        same = path and file.path == path.absolute()
        if same or (path is None and file.size is None and _is_source(source, file)):
            return _in_hub_cache(file)
    return _outside_hub_cache(reference, path or locate_model(reference, config))


def locate_model(reference: str, config: Config) -> Path:
    """Return the path of a model reference's file. Raises `ModelNotAvailable` if it is not here."""
    source = parse_reference(reference, config)
    if path := source.locate():
        return path
    if isinstance(source, LocalFile):
        raise source.missing()
    raise ModelNotAvailable(
        f"{reference} is not on this machine",
        hint=f"Download it: mistral-cli models pull {shlex.quote(reference)}",
    )


@contextmanager
def unchanged_access_time(path: Path) -> Iterator[None]:
    """Restore the file's access time after the block, so that reading it does not count as use."""
    before = path.stat()
    try:
        yield
    finally:
        with suppress(OSError):  # the file belongs to another user
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _named(name: str, config: Config) -> ListedModel:
    default = name == config.model
    try:
        source = parse_reference(name, config)
        path = source.locate()
    except MistralCliError as error:
        return ListedModel(name=name, source=f"unusable: {error.message}", default=default)
    quantization, description = source.quantization, source.describe()
    model = _listed(name, description, path, quantization, default=default) if path else None
    return model or ListedModel(
        name=name, source=description, quantization=quantization, default=default
    )


def _unnamed(file: StoredFile, config: Config) -> ListedModel | None:
    default = file.name == config.model
    quantization = quant_of(file.path.name)
    if file.size is None:
        return ListedModel(
            name=file.name,
            source=f"{file.storage}: a broken link",
            path=file.path,
            quantization=quantization,
            default=default,
        )
    return _listed(file.name, file.storage, file.path, quantization, default=default)


def _unfinished(names: Iterable[str], config: Config) -> list[ListedModel]:
    sources = []
    for name in names:
        with suppress(MistralCliError):
            sources.append(parse_reference(name, config))
    return [
        ListedModel(name=leftover.name, source=leftover.describe(), size=leftover.size)
        for leftover in find_leftovers(sources)
    ]


def _listed(
    name: str, source: str, path: Path, quantization: str | None, *, default: bool
) -> ListedModel | None:
    """Return the line of an existing file, or None if it was removed in the meantime."""
    try:
        state = path.stat()
    except OSError:
        return None
    header = _header(path)
    kind = other_kind(header) if header else None
    if not quantization and header and header.tensors and not kind:
        quantization = header.quantization
    return ListedModel(
        name=name,
        source=f"{source}: {kind.name}" if kind else source,
        path=path,
        size=state.st_size,
        quantization=quantization,
        last_used=datetime.fromtimestamp(int(state.st_atime), UTC),
        default=default,
    )


def _header(path: Path) -> GGUF | None:
    try:
        with unchanged_access_time(path):
            return open_checked(path, lambda _: None)
    except (OSError, ModelUnusable):
        return None


def _in_hub_cache(file: CachedFile) -> StoredFile:
    name = HubFile(file.repo, file.filename, file.revision).describe()
    return StoredFile(
        name=name, path=file.path, storage="hub cache", size=file.size, sha256=file.sha256
    )


def _outside_hub_cache(name: str, path: Path) -> StoredFile:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ModelNotAvailable(
            f"cannot inspect {path}: {error.strerror}",
            hint="Check the permissions of its folder.",
        ) from error
    for wheel in ALIASES.values():
        if isinstance(wheel, PyPIWheel) and path.absolute() == wheel.locate():
            return StoredFile(
                name=name, path=path, storage="our cache", size=size, sha256=wheel.sha256
            )
    return StoredFile(name=name, path=path, storage="user's file", size=size)


def _is_source(source: ModelSource, file: CachedFile) -> bool:
    return isinstance(source, HubFile) and (source.repo, source.filename, source.revision) == (
        file.repo,
        file.filename,
        file.revision,
    )
