"""The model files on this machine: in the shared hub cache, in our cache, and the user's own."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mistral_cli.errors import MistralCliError, ModelNotAvailable
from mistral_cli.models.catalog import ALIASES, find_built_in
from mistral_cli.models.gguf.split import (
    first_part,
    first_path,
    missing_part,
    part_paths,
    parts_here,
)
from mistral_cli.models.header_cache import HeaderCache
from mistral_cli.models.hub.cache import CachedFile, cached_ggufs
from mistral_cli.models.hub.leftovers import find_leftovers
from mistral_cli.models.references import parse_reference
from mistral_cli.models.sources import (
    HubFile,
    HubRepo,
    LocalFile,
    ModelSource,
    PyPIWheel,
    quant_of,
)

if TYPE_CHECKING:
    from mistral_cli.system.config import Config

Storage = Literal["hub cache", "our cache", "user's file"]


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A model file on this machine, or a part of one; `name` is its model reference.

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

    `path` is None for a model that is not on this machine. `size` is in bytes, of all parts
    together; an unfinished download has a size and no path. `verified` is for built-in aliases: a
    file that was never pulled with this program, here or by us, may not be what the alias promises.
    `last_used` is when the file was last read, according to the file system: Linux records that at
    most once a day, and never on a disk that is mounted with `noatime`.
    """

    name: str
    source: str
    path: Path | None = None
    size: int | None = None
    quantization: str | None = None
    last_used: datetime | None = None
    default: bool = False
    verified: bool | None = None


def list_models(config: Config) -> list[ListedModel]:
    """Return the aliases, the default model, other files here, and unfinished downloads.

    Does not use the network.
    """
    names = dict.fromkeys([*ALIASES, *config.aliases])
    stored = stored_files(config)
    if config.model not in [*names, *(file.name for file in stored)]:
        names[config.model] = None
    headers = HeaderCache()
    named = [_named(name, config, headers) for name in names]
    known = {model.path for model in named}
    others = [files for files in _by_model(stored) if first_path(files[0].path) not in known]
    unnamed = list(filter(None, (_unnamed(files, config, headers) for files in others)))
    headers.save()
    return [*named, *unnamed, *_unfinished(names, config)]


def stored_files(config: Config) -> list[StoredFile]:
    """Return every model file in the caches, and those that an alias or the default names.

    Each part of a split model is a file of its own.
    """
    files = {file.path: _in_hub_cache(file) for file in cached_ggufs()}
    for name in dict.fromkeys([*ALIASES, *config.aliases, config.model]):
        with suppress(MistralCliError):
            source = parse_reference(name, config)
            if (path := source.locate()) and path not in files:
                files |= {file.path: file for file in _outside_hub_cache(name, path)}
    return list(files.values())


def stored_models(config: Config) -> list[list[StoredFile]]:
    """Return the same files by model: one file, or the parts that are here."""
    return _by_model(stored_files(config))


def _by_model(files: Iterable[StoredFile]) -> list[list[StoredFile]]:
    models: dict[Path, list[StoredFile]] = {}
    for file in files:
        models.setdefault(first_path(file.path), []).append(file)
    return list(models.values())


def find_stored(reference: str, config: Config) -> list[StoredFile]:
    """Return the file of a model reference, or the parts of a split model that are here.

    Raises `ModelNotAvailable` if there are none. Also finds a broken link in the hub cache, which
    can be inspected and removed.
    """
    source = parse_reference(reference, config)
    path = source.locate()
    if not path and isinstance(source, HubRepo) and len(cached := source.cached_files()) == 1:
        source = cached[0]
    # There are several ways to write a path into the cache.
    paths: set[Path | None] = {part.absolute() for part in part_paths(path)} if path else set()
    if not path and isinstance(source, HubFile):
        paths.update(source.cached_parts())
    files = [
        file
        for file in cached_ggufs()
        if file.path in paths or (not path and file.size is None and _is_source(source, file))
    ]
    if files:
        return [_in_hub_cache(file) for file in files]
    name = first_part(reference)  # of a path to another part
    return _outside_hub_cache(name, path or locate_model(reference, config))


def locate_model(reference: str, config: Config) -> Path:
    """Return the path of a model reference's file, or of the first part of a split model.

    Raises `ModelNotAvailable` if it is not here, or not with all its parts.
    """
    source = parse_reference(reference, config)
    if path := source.locate():
        if error := missing_part(path):
            raise error
        return path
    if isinstance(source, LocalFile):
        raise source.missing()
    parts = source.cached_parts() if isinstance(source, HubFile) else []
    incomplete = f"part {parts.index(None) + 1} of {len(parts)} of " if any(parts) else ""
    raise ModelNotAvailable(
        f"{incomplete}{reference} is not on this machine",
        hint=f"Download it: mistral-cli models pull {shlex.quote(reference)}",
    )


def _named(name: str, config: Config, headers: HeaderCache) -> ListedModel:
    default = name == config.model
    try:
        source = parse_reference(name, config)
        path = source.locate()
    except MistralCliError as error:
        return ListedModel(name=name, source=f"unusable: {error.message}", default=default)
    quantization, description = source.quantization, source.describe()
    model = (
        _listed(name, description, path, quantization, headers, default=default) if path else None
    )
    model = model or ListedModel(
        name=name, source=description, quantization=quantization, default=default
    )
    built_in = None if name in config.aliases else find_built_in(name)
    return replace(model, verified=built_in.is_pinned or bool(model.path)) if built_in else model


def _unnamed(
    files: Sequence[StoredFile], config: Config, headers: HeaderCache
) -> ListedModel | None:
    """Return the line of a file, or of the parts of a model."""
    file, *_ = files
    reference, at, revision = file.name.partition("@")
    name = first_part(reference) + at + revision
    path, default = first_path(file.path), name == config.model
    quantization = quant_of(path.name)
    if any(file.size is None for file in files):
        return ListedModel(
            name=name,
            source=f"{file.storage}: a broken link",
            path=path,
            quantization=quantization,
            default=default,
        )
    return _listed(name, file.storage, path, quantization, headers, default=default)


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
    name: str,
    source: str,
    path: Path,
    quantization: str | None,
    headers: HeaderCache,
    *,
    default: bool,
) -> ListedModel | None:
    """Return the line of an existing file, or None if it was removed in the meantime."""
    try:
        size = sum(part.stat().st_size for part in parts_here(path))
        if missing_part(path):
            here = f"{len(parts_here(path))} of {len(part_paths(path))} parts"
            continues = "; `models pull` continues it" if source == "hub cache" else ""
            return ListedModel(
                name=name,
                source=f"{source}: {here}{continues}",
                size=size,
                quantization=quantization,
                default=default,
            )
        state, facts = path.stat(), headers.facts(path)
    except OSError:
        return None
    return ListedModel(
        name=name,
        source=f"{source}: {facts.kind}" if facts.kind else source,
        path=path,
        size=size,
        quantization=quantization or facts.quantization,
        last_used=datetime.fromtimestamp(int(state.st_atime), UTC),
        default=default,
    )


def _in_hub_cache(file: CachedFile) -> StoredFile:
    name = HubFile(file.repo, file.filename, file.revision).describe()
    return StoredFile(
        name=name, path=file.path, storage="hub cache", size=file.size, sha256=file.sha256
    )


def _outside_hub_cache(name: str, path: Path) -> list[StoredFile]:
    """Return the file at `path`, or the parts of a split model, of which `name` is the first."""
    names = {path: name}
    try:
        sizes = {part: part.stat().st_size for part in parts_here(path) or [path]}
    except OSError as error:
        raise ModelNotAvailable(
            f"cannot inspect {path}: {error.strerror}",
            hint="Check the permissions of its folder.",
        ) from error
    for wheel in ALIASES.values():
        if isinstance(wheel, PyPIWheel) and path.absolute() == wheel.locate():
            return [
                StoredFile(
                    name=name,
                    path=path,
                    storage="our cache",
                    size=sizes[path],
                    sha256=wheel.sha256,
                )
            ]
    return [
        StoredFile(name=names.get(part, str(part)), path=part, storage="user's file", size=size)
        for part, size in sizes.items()
    ]


def _is_source(source: ModelSource, file: CachedFile) -> bool:
    return (
        isinstance(source, HubFile)
        and (source.repo, source.revision) == (file.repo, file.revision)
        and file.filename in source.filenames
    )
