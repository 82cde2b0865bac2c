"""Take model files off this machine: what goes, what that frees, and whom it concerns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.hub import cache
from mistral_cli.models.hub.cache import unlinked_blobs
from mistral_cli.models.hub.calls import seam
from mistral_cli.models.hub.leftovers import of_file
from mistral_cli.models.hub.partial import idle, is_leftover, parts, size_of
from mistral_cli.models.references import parse_reference
from mistral_cli.models.sources import HubFile, HubRepo, Source
from mistral_cli.models.store import Stored, find

if TYPE_CHECKING:
    from mistral_cli.system.config import Config


@dataclass(frozen=True)
class Removal:
    """Files that are to go, each once; `shared` when other tools lose one of them too.

    `freed` is in bytes: less than the sizes where another snapshot still has the data.
    """

    files: Sequence[Stored]
    freed: int
    shared: bool
    run: Callable[[], None]


def found(reference: str, config: Config) -> list[Stored]:
    """The file of a model reference, and what unfinished downloads left of it.

    Raises `ModelNotAvailable` when there is neither, and `UsageError` for a quantization of which
    several files are here. The hub is asked only where no file is here and something unfinished
    is, whose name only the hub can tell.
    """
    source = parse_reference(reference, config)
    if isinstance(source, HubRepo):
        source = _file_of(source)
        reference = source.describe() if isinstance(source, HubFile) else reference
    left = []
    if isinstance(source, HubFile):
        with suppress(ModelNotAvailable):  # no network: it stays
            left = [_left(reference, path) for path in of_file(source)]
    try:
        return [find(reference, config), *left]
    except ModelNotAvailable as error:
        if left:
            return left
        error.hint = "`mistral-cli models list` shows what is on this machine."
        raise


def _file_of(source: HubRepo) -> Source:
    if cached := source.cached():
        return source.the_one(cached)
    if parts(source.repo) or unlinked_blobs(source.repo):
        with suppress(ModelNotAvailable):  # no network: it stays, and is found with its file's name
            return source.choose()
    return source


def _left(reference: str, path: Path) -> Stored:
    return Stored(reference, path, "hub cache", size_of(path), None)


def plan(files: Sequence[Stored]) -> Removal:
    """How to remove `files`; removes nothing yet.

    Raises `UsageError` for a file outside the caches, which is the user's own, and
    `ModelNotAvailable` for a cache that is too damaged and for a part that is growing.
    """
    files = list({file.path: file for file in files}.values())
    for file in files:
        if file.place == "own file":
            raise UsageError(
                f"{file.path} is a file of your own, not in a cache",
                hint="Remove it yourself if you mean it; `models rm` leaves it alone.",
            )
    left = [file.path for file in files if is_leftover(file.path)]
    with seam("the hub cache"), idle(left):
        pass
    shared = [file for file in files if file.place == "hub cache"]
    # A broken link or a leftover is nothing to the library.
    linked = [f.path for f in shared if f.size is not None and f.path not in left]
    unlinked = [file for file in files if file.path not in linked]
    in_hub_cache = cache.plan_removal(linked) if linked else cache.Removal(0, lambda: None)

    def run() -> None:
        # Asked again: a download may have begun to continue a part while the user was asked.
        with seam("the hub cache"), idle(left):
            for file in unlinked:
                _unlink(file.path)
        in_hub_cache.run()

    freed = in_hub_cache.freed + sum(file.size or 0 for file in unlinked)
    return Removal(files, freed, bool(shared), run)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ModelNotAvailable(
            f"cannot remove {path}: {error.strerror}",
            hint=f"Check the permissions of {path.parent}.",
        ) from error
