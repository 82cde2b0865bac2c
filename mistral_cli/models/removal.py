"""Take model files off this machine: what goes, what that frees, and whom it concerns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.config import Config
from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models import cache
from mistral_cli.models.parts import check_idle, is_part, parts
from mistral_cli.models.references import parse
from mistral_cli.models.sources import HubFile, HubRepo, Source
from mistral_cli.models.store import Stored, find


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

    Raises `ModelNotAvailable` when there is neither. The hub is asked only for the file's name:
    where a repository and a quantization are given, and only a part can be here.
    """
    left = [
        Stored(reference, path, "hub cache", path.stat().st_size, None)
        for path in _parts(parse(reference, config))
    ]
    try:
        return [find(reference, config), *left]
    except ModelNotAvailable:
        if left:
            return left
        raise


def _parts(source: Source) -> list[Path]:
    if isinstance(source, HubRepo) and parts(source.repo):
        with suppress(ModelNotAvailable):  # no network: it stays, and is found with its file's name
            source = source.choose()
    return parts(source.repo, source.filename) if isinstance(source, HubFile) else []


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
        if is_part(file.path):
            check_idle(file.path)
    shared = [file for file in files if file.place == "hub cache"]
    # A broken link or a part is nothing to the library.
    linked = [f.path for f in shared if f.size is not None and not is_part(f.path)]
    unlinked = [file for file in files if file.path not in linked]
    in_hub_cache = cache.plan_removal(linked) if linked else cache.Removal(0, lambda: None)

    def run() -> None:
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
