"""The files of the prompt cache: states, and beside each what it is.

`<name>.state` is the engine's file, `<name>.json` its key, tokens, size and SHA-256. The second
is written last, and a state counts only with it. New states are hashed and renamed; then they
are never changed, only deleted. All of it holds prompts: the folder is the user's alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mistral_cli.system.files import write_atomically

_NAME_LENGTH = 32  # hex digits
_MOST = 256  # entries; more of them make looking slow, and small ones gain little
_LOCK, _LOCK_SECONDS = "lock", 5.0
_SECONDS_UNFINISHED = 3600.0


@dataclass(frozen=True)
class Entry:
    """One state: of which model, after how many tokens; `size` is in bytes."""

    model: str
    tokens: int
    size: int
    last_used: datetime
    path: Path


class Store:
    """The states in `folder`, of which together at most `limit` bytes are kept.

    Safe for use by several processes. Every method raises OSError.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def find(self, key: str, tokens: Sequence[int]) -> Path | None:
        """The state after `tokens`, read and compared with its hash; a bad one is deleted."""
        path = self._path(key, tokens)
        told = _read(path)
        if told is None or (told.get("key"), told.get("tokens")) != (key, list(tokens)):
            return None
        whole = path.exists() and path.stat().st_size == told["size"]
        if not whole or _hash(path) != told["sha256"]:
            _delete(path)
            return None
        os.utime(path.with_suffix(".json"))
        return path

    def new(self, key: str, tokens: Sequence[int]) -> Path:
        """Where an engine may write the state after `tokens`; `add` makes it an entry."""
        path = self._path(key, tokens)
        return path.with_name(f"{path.stem}-{secrets.token_hex(4)}.new")

    def add(self, new: Path, key: str, tokens: Sequence[int], model: str) -> None:
        """Make a file that `new` had named an entry, and delete those used longest ago."""
        path = self._path(key, tokens)
        new.chmod(0o600)
        told = {
            "key": key,
            "model": model,
            "tokens": list(tokens),
            "size": new.stat().st_size,
            "sha256": _hash(new),
        }
        with self._locked():
            if _read(path) is None:
                new.replace(path)
                write_atomically(path.with_suffix(".json"), json.dumps(told).encode())
                path.with_suffix(".json").chmod(0o600)
            else:  # another process was faster
                new.unlink()
            self._make_room()

    def entries(self) -> list[Entry]:
        """Every entry, the one used last first."""
        found = []
        for path in self._states():
            with contextlib.suppress(OSError, KeyError, TypeError):
                told = _read(path) or {}
                used = path.with_suffix(".json").stat().st_mtime
                found.append(
                    Entry(
                        str(told["model"]),
                        len(told["tokens"]),
                        path.stat().st_size,
                        datetime.fromtimestamp(int(used), UTC),
                        path,
                    )
                )
        return sorted(found, key=lambda entry: entry.last_used, reverse=True)

    def clear(self) -> int:
        """Delete everything, and return the bytes that this frees."""
        freed = 0
        if self.folder.is_dir():
            with self._locked():
                for path in self._files():
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def _path(self, key: str, tokens: Sequence[int]) -> Path:
        told = json.dumps([key, list(tokens)]).encode()
        return self.folder / f"{hashlib.sha256(told).hexdigest()[:_NAME_LENGTH]}.state"

    def _states(self) -> Iterator[Path]:
        return self.folder.glob("*.state")

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.*") if path.is_file()]

    def _make_room(self) -> None:
        _sweep(self._files())
        kept, size = 0, 0
        for entry in self.entries():
            kept, size = kept + 1, size + entry.size
            if kept > 1 and (kept > _MOST or size > self.limit):
                size -= entry.size
                _delete(entry.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock

        with FileLock(self.folder / _LOCK, timeout=_LOCK_SECONDS, mode=0o600):
            yield


def _sweep(files: Sequence[Path]) -> None:
    """Delete what killed processes have left."""
    oldest = time.time() - _SECONDS_UNFINISHED
    for path in files:
        whole = path.suffix == ".json" or _read(path) is not None
        if not whole and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """What is told of a state; None where nothing is."""
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(path.with_suffix(".json").read_bytes())
        return told if isinstance(told, dict) else None
    return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _delete(path: Path) -> None:
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
