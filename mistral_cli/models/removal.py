"""Removes model files from this machine: which files, and how much space that frees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.hub.cache import CacheDeletion, plan_deletion, unlinked_blobs
from mistral_cli.models.hub.calls import hub_call
from mistral_cli.models.hub.leftovers import leftovers_of
from mistral_cli.models.hub.partial import is_leftover, locked_blobs, partial_files, size_of
from mistral_cli.models.references import parse_reference
from mistral_cli.models.sources import LIST_HINT, HubFile, HubRepo, LocalFile, ModelSource
from mistral_cli.models.store import StoredFile, find_stored

if TYPE_CHECKING:
    from mistral_cli.system.config import Config


@dataclass(frozen=True)
class Removal:
    """Files to remove, each once; `shared` is True if other tools use one of them too.

    `freed` is in bytes: less than the sum of the sizes if another snapshot still has the data.
    """

    files: Sequence[StoredFile]
    freed: int
    shared: bool
    execute: Callable[[], None]


def files_to_remove(reference: str, config: Config) -> list[StoredFile]:
    """Return the files of a model reference, and the leftovers of its unfinished downloads.

    Raises `ModelNotAvailable` if there are none, and `UsageError` for a quantization of which
    several files are here. Asks the hub only if there is no file but there are leftovers, because
    only the hub knows their names.
    """
    source = parse_reference(reference, config)
    if isinstance(source, HubRepo):
        source = _file_of(source)
        reference = source.describe() if isinstance(source, HubFile) else reference
    leftovers = []
    if isinstance(source, HubFile):
        with suppress(ModelNotAvailable):  # without a network the leftovers remain
            leftovers = [_leftover(reference, path) for path in leftovers_of(source)]
    try:
        return [*find_stored(reference, config), *leftovers]
    except ModelNotAvailable as error:
        if leftovers:
            return leftovers
        if isinstance(source, LocalFile):
            raise
        raise error.with_hint(LIST_HINT) from error.__cause__


def _file_of(source: HubRepo) -> ModelSource:
    if cached := source.cached_files():
        return source.only_file(cached)
    if partial_files(source.repo) or unlinked_blobs(source.repo):
        with suppress(ModelNotAvailable):  # without a network, the name of the file still finds it
            return source.select_file()
    return source


def _leftover(reference: str, path: Path) -> StoredFile:
    return StoredFile(name=reference, path=path, storage="hub cache", size=size_of(path))


def plan_removal(files: Sequence[StoredFile]) -> Removal:
    """Plan to remove `files`; nothing is removed until `execute` is called.

    Raises `UsageError` for a file outside the caches, which belongs to the user, and
    `ModelNotAvailable` if the cache is too damaged or a download to a partial file is running.
    """
    files = list({file.path: file for file in files}.values())
    for file in files:
        if file.storage == "user's file":
            raise UsageError(
                f"{file.path} is not in a cache: it is a file of your own",
                hint="`models rm` does not remove it; delete the file yourself if you want to.",
            )
    leftovers = [file.path for file in files if is_leftover(file.path)]
    with hub_call("the hub cache"), locked_blobs(leftovers):
        pass
    shared = [file for file in files if file.storage == "hub cache"]
    # The library does not know broken links and leftovers.
    linked = [f.path for f in shared if f.size is not None and f.path not in leftovers]
    unlinked = [file for file in files if file.path not in linked]
    in_hub_cache = plan_deletion(linked) if linked else CacheDeletion(0, lambda: None)

    def execute() -> None:
        # Lock again: a download may have started while the user answered the question.
        with hub_call("the hub cache"), locked_blobs(leftovers):
            for file in unlinked:
                _unlink(file.path)
        in_hub_cache.execute()

    freed = in_hub_cache.freed + sum(file.size or 0 for file in unlinked)
    return Removal(files, freed, bool(shared), execute)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ModelNotAvailable(
            f"cannot remove {path}: {error.strerror}",
            hint=f"Check the permissions of {path.parent}.",
        ) from error
