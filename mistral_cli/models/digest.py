"""The SHA-256 of a model file, read once and remembered for as long as the file is the same."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.models.checksums import sha256_of
from mistral_cli.system.config import cache_dir
from mistral_cli.system.files import write_atomically

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter


def digest_of(path: Path, reporter: Reporter) -> str:
    """The digest in hex; gigabytes are read only the first time. Raises OSError."""
    path = path.resolve()
    state = path.stat()
    now = [state.st_size, state.st_mtime_ns, state.st_ino]
    store = cache_dir() / "digests.json"
    known = _read(store)
    if known.get(str(path), [None])[:-1] == now:
        return str(known[str(path)][-1])

    def show(done: int) -> None:
        reporter.status(f"reading {path.name}: {100 * done // max(state.st_size, 1)} % …")

    digest = sha256_of(path, show)
    reporter.clear_status()
    known = {p: told for p, told in _read(store).items() if Path(p).exists()}
    with contextlib.suppress(OSError):  # then it is read again the next time
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(store, json.dumps({**known, str(path): [*now, digest]}).encode())
    return digest


def _read(store: Path) -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(store.read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    return {}
