"""The files of the prompt cache: saved states, each with its metadata beside it.

`<name>.state` is the engine's file; `<name>.json` has its key, tokens, size and SHA-256. The
metadata is written last, and a state without metadata is ignored. A new state is hashed and
renamed; after that it never changes. States contain prompts, so only the user may be able to read
the folder.
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
from mistral_cli.system.strict_json import read_object

_NAME_LENGTH = 32  # hex digits
_MAX_ENTRIES = 256  # more would make the search slow, and small states save little time
_LOCK, _LOCK_SECONDS = "lock", 5.0
_UNFINISHED_SECONDS = 3600.0


@dataclass(frozen=True)
class Entry:
    """One saved state: its model, the tokens it covers, its size in bytes."""

    model: str
    tokens: int
    size: int
    last_used: datetime
    path: Path


class Store:
    """The states in `folder`, at most `limit` bytes in total.

    Several processes may share a folder. Every method raises OSError.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def find(self, key: str, tokens: Sequence[int]) -> Path | None:
        """The state after `tokens`, if its content matches its hash. Deletes a damaged state."""
        path = self._path(key, tokens)
        metadata = _read(path)
        if metadata is None or (metadata.get("key"), metadata.get("tokens")) != (key, list(tokens)):
            return None
        complete = path.exists() and path.stat().st_size == metadata["size"]
        if not complete or _hash(path) != metadata["sha256"]:
            _delete(path)
            return None
        os.utime(path.with_suffix(".json"))
        return path

    def new(self, key: str, tokens: Sequence[int]) -> Path:
        """A path for an engine to write the state after `tokens` to; `add` makes it an entry."""
        path = self._path(key, tokens)
        return path.with_name(f"{path.stem}-{secrets.token_hex(4)}.new")

    def add(self, new: Path, key: str, tokens: Sequence[int], model: str) -> None:
        """Make the file `new` an entry; delete the least recently used entries over the limit."""
        path = self._path(key, tokens)
        new.chmod(0o600)
        metadata = {
            "key": key,
            "model": model,
            "tokens": list(tokens),
            "size": new.stat().st_size,
            "sha256": _hash(new),
        }
        with self._locked():
            if _read(path) is None:
                new.replace(path)
                write_atomically(path.with_suffix(".json"), json.dumps(metadata).encode())
                path.with_suffix(".json").chmod(0o600)
            else:  # another process was faster
                new.unlink()
            self._make_room()

    def entries(self) -> list[Entry]:
        """Every entry, most recently used first."""
        entries = []
        for path in self._states():
            with contextlib.suppress(OSError, KeyError, TypeError):
                metadata = _read(path) or {}
                used = path.with_suffix(".json").stat().st_mtime
                entries.append(
                    Entry(
                        str(metadata["model"]),
                        len(metadata["tokens"]),
                        path.stat().st_size,
                        datetime.fromtimestamp(int(used), UTC),
                        path,
                    )
                )
        return sorted(entries, key=lambda entry: entry.last_used, reverse=True)

    def clear(self) -> int:
        """Delete everything and return the number of bytes freed."""
        freed = 0
        if self.folder.is_dir():
            with self._locked():
                for path in self._files():
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def _path(self, key: str, tokens: Sequence[int]) -> Path:
        content = json.dumps([key, list(tokens)]).encode()
        return self.folder / f"{hashlib.sha256(content).hexdigest()[:_NAME_LENGTH]}.state"

    def _states(self) -> Iterator[Path]:
        return self.folder.glob("*.state")

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.*") if path.is_file()]

    def _make_room(self) -> None:
        _sweep(self._files())
        count, size = 0, 0
        for entry in self.entries():
            count, size = count + 1, size + entry.size
            if count > 1 and (count > _MAX_ENTRIES or size > self.limit):
                size -= entry.size
                _delete(entry.path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock

        with FileLock(self.folder / _LOCK, timeout=_LOCK_SECONDS, mode=0o600):
            yield


def _sweep(files: Sequence[Path]) -> None:
    """Delete unfinished files of processes that were killed."""
    oldest = time.time() - _UNFINISHED_SECONDS
    for path in files:
        complete = path.suffix == ".json" or _read(path) is not None
        if not complete and path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


_METADATA_KEYS = {"key", "model", "tokens", "size", "sha256"}


def _read(path: Path) -> dict[str, Any] | None:
    """The metadata of a state, or None without any."""
    with contextlib.suppress(OSError, ValueError):
        metadata = read_object(path.with_suffix(".json").read_bytes())
        return metadata if metadata.keys() >= _METADATA_KEYS else None
    return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _delete(path: Path) -> None:
    path.with_suffix(".json").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
