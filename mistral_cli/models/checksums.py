"""SHA-256 of model files: verified against the published digest, and cached for other uses."""

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
from mistral_cli.models.gguf.checks import ANOTHER, DAMAGED
from mistral_cli.models.gguf.split import first_path, missing_part, part_paths
from mistral_cli.models.gguf.weights import damaged_tensor
from mistral_cli.models.remote import RemoteModel
from mistral_cli.system.config import cache_dir
from mistral_cli.system.files import unchanged_access_time, write_atomically
from mistral_cli.system.strict_json import read_object

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.store import StoredFile
    from mistral_cli.system.reporter import Reporter

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Verdict:
    """The result of verifying a file.

    "ok": the digest is the published one. "damaged": it is another one, or the file is not a
    readable model. "not published": there is no digest to compare; the header is valid, and all
    weights are numbers.
    """

    status: Literal["ok", "damaged", "not published"]
    sha256: str | None
    problem: MistralCliError | None = None


def verify_file(file: StoredFile, on_progress: Callable[[int], None]) -> Verdict:
    """Read the whole file and compare its digest; call `on_progress` with the bytes read so far.

    With the first part of a split model without published digests, the weights of all are checked.
    """
    if file.size is None:
        message = f"{file.path} is a link to a file that does not exist"
        hint = f"Download the file again: mistral-cli models pull {shlex.quote(file.name)}"
        return Verdict("damaged", None, ModelUnusable(message, hint=hint))
    try:
        if not file.path.is_file():  # opening a pipe would block
            raise ModelUnusable(f"{file.path}: is not a regular file", hint=ANOTHER)
        with unchanged_access_time(file.path):
            digest = sha256_of(file.path, on_progress)
            leads = file.path == first_path(file.path) and not missing_part(file.path)
            if file.sha256 is None and leads:
                _check_weights(read_gguf(file.path))
    except (ModelUnusable, OSError) as error:
        return Verdict("damaged", None, _read_problem(file, error))
    if file.sha256 in (None, digest):
        return Verdict("ok" if file.sha256 else "not published", digest)
    message = f"{file.path} has SHA-256 {digest}, not {file.sha256} as published"
    return Verdict("damaged", digest, ModelUnusable(message, hint=_refetch_hint(file)))


def sha256_of(path: Path, on_progress: Callable[[int], None]) -> str:
    """Return the digest of a file in hexadecimal. Raises `OSError`."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_progress(done)
    return digest.hexdigest()


def cached_sha256(path: Path, reporter: Reporter) -> str:
    """Return the digest of a file in hexadecimal, cached until the file changes.

    Only the first call reads the gigabytes. Raises `OSError`.
    """
    path = path.resolve()
    state = path.stat()
    version = [state.st_size, state.st_mtime_ns, state.st_ino]
    store = cache_dir() / "digests.json"
    known = _read_digests(store)
    if known.get(str(path), [None])[:-1] == version:
        return str(known[str(path)][-1])

    def show(done: int) -> None:
        reporter.status(f"reading {path.name}: {100 * done // max(state.st_size, 1)} % …")

    digest = sha256_of(path, show)
    reporter.clear_status()
    known = {name: entry for name, entry in _read_digests(store).items() if Path(name).exists()}
    with contextlib.suppress(OSError):  # if it fails, the next call reads the file again
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(store, json.dumps({**known, str(path): [*version, digest]}).encode())
    return digest


def model_digest(model: GGUF, reporter: Reporter) -> str:
    """Return the digest of a model's file, or one of the digests of its parts, cached as above.

    A model on a server has a digest of what the server tells about it.
    """
    if isinstance(model, RemoteModel):
        return model.identity
    digests = [cached_sha256(path, reporter) for path in model.files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _check_weights(model: GGUF) -> None:
    if tensor := damaged_tensor(model):
        problem = f"its tensor {tensor!r} has weights that are no numbers (NaN or infinity)"
        raise ModelUnusable(f"{model.path}: {problem}", hint=DAMAGED)


def refetch_command(reference: str) -> str:
    """Return the command that downloads a damaged file again."""
    name = shlex.quote(reference)
    return f"mistral-cli models rm {name} && mistral-cli models pull {name}"


def _read_digests(store: Path) -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):
        known = read_object(store.read_bytes())
        return {path: entry for path, entry in known.items() if isinstance(entry, list)}
    return {}


def _read_problem(file: StoredFile, error: ModelUnusable | OSError) -> ModelUnusable:
    if isinstance(error, ModelUnusable):
        return error
    message = f"{file.path}: cannot be read: {error.strerror}"
    return ModelUnusable(message, hint=_refetch_hint(file))


def _refetch_hint(file: StoredFile) -> str:
    if file.storage == "user's file":
        return "Download the file again from its source."
    if len(part_paths(file.path)) > 1:  # `models rm` would remove the other parts too
        content = shlex.quote(str(file.path.resolve()))
        return f"rm {content} && mistral-cli models pull {shlex.quote(file.name)}"
    return refetch_command(file.name)
