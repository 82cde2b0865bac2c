"""Whether a model file is what was published."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mistral_cli.errors import MistralCliError, ModelUnusable
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.store import Stored, unchanged_access_time
from mistral_cli.system.config import cache_dir
from mistral_cli.system.files import write_atomically

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Verdict:
    """What a file's digest says.

    "ok" is the published digest; "damaged" is another one, or no readable model; for
    "not published" there is none to compare with, and the file's structure is sound.
    """

    status: Literal["ok", "damaged", "not published"]
    sha256: str | None
    problem: MistralCliError | None = None


def verify(file: Stored, on_progress: Callable[[int], None]) -> Verdict:
    """Read the whole file, telling `on_progress` the bytes read so far."""
    if file.size is None:
        problem = ModelUnusable(f"{file.path} is a link to a file that is gone", hint=_again(file))
        return Verdict("damaged", None, problem)
    try:
        with unchanged_access_time(file.path):
            digest = sha256_of(file.path, on_progress)
            if file.sha256 is None:
                read_gguf(file.path)
    except (ModelUnusable, OSError) as error:
        return Verdict("damaged", None, _problem(file, error))
    if file.sha256 in (None, digest):
        return Verdict("ok" if file.sha256 else "not published", digest)
    message = f"{file.path} has SHA-256 {digest}, not {file.sha256} as published"
    return Verdict("damaged", digest, ModelUnusable(message, hint=_again(file)))


def sha256_of(path: Path, on_progress: Callable[[int], None]) -> str:
    """The digest in hex. Raises `OSError`."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_progress(done)
    return digest.hexdigest()


def cached_sha256(path: Path, reporter: Reporter) -> str:
    """The digest in hex; gigabytes are read only the first time. Raises OSError."""
    path = path.resolve()
    state = path.stat()
    now = [state.st_size, state.st_mtime_ns, state.st_ino]
    store = cache_dir() / "digests.json"
    known = _read_digests(store)
    if known.get(str(path), [None])[:-1] == now:
        return str(known[str(path)][-1])

    def show(done: int) -> None:
        reporter.status(f"reading {path.name}: {100 * done // max(state.st_size, 1)} % …")

    digest = sha256_of(path, show)
    reporter.clear_status()
    known = {p: told for p, told in _read_digests(store).items() if Path(p).exists()}
    with contextlib.suppress(OSError):  # then it is read again the next time
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(store, json.dumps({**known, str(path): [*now, digest]}).encode())
    return digest


def _read_digests(store: Path) -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(store.read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    return {}


def _problem(file: Stored, error: ModelUnusable | OSError) -> ModelUnusable:
    if isinstance(error, ModelUnusable):
        return error
    return ModelUnusable(f"{file.path}: cannot be read: {error.strerror}", hint=_again(file))


def _again(file: Stored) -> str:
    if file.place == "own file":
        return "Get the file again from where it came."
    return again(file.name)


def again(reference: str) -> str:
    """The command that fetches a damaged file anew."""
    name = shlex.quote(reference)
    return f"mistral-cli models rm {name} && mistral-cli models pull {name}"
