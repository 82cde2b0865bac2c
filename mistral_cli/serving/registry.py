"""Where a served model is found: folders that only this user can enter, one for each model.

A folder holds the server's socket, a description of it, and a lock that the serving process
keeps: the kernel lets go of it however that process ends, so a dead one is never taken for a
live one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mistral_cli import __version__
from mistral_cli.errors import UsageError
from mistral_cli.system.config import runtime_dir
from mistral_cli.system.files import write_atomically

_SOCKET, _STATE, _LOCK, _ACTIVE = "s.sock", "state.json", "lock", "active"
_LONGEST_SOCKET = 103  # bytes, on macOS
_PROBING_SECONDS = 1.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model that process `pid` keeps loaded, since `started` (seconds since the epoch).

    The weights are in process `engine_pid`. `context_length` is that of each of the `slots`, in
    tokens; `idle_seconds` (0: never) end the process. `file` is the size, modification time and
    inode of what was loaded.
    """

    pid: int
    started: float
    model: str
    path: str
    file: tuple[int, int, int]
    engine: str
    engine_pid: int
    context_length: int
    slots: int
    gpu_layers: int
    threads: int
    knows_grammars: bool
    idle_seconds: float
    api_key: str
    http: str | None = None
    http_key: str | None = None
    version: str = __version__

    @property
    def folder(self) -> Path:
        """Where it is found."""
        return folder_of(Path(self.path))

    @property
    def socket(self) -> Path:
        """Where its server listens."""
        return self.folder / _SOCKET

    @property
    def last_active(self) -> float:
        """When it was last seen at work, in seconds since the epoch."""
        try:
            return (self.folder / _ACTIVE).stat().st_mtime
        except OSError:
            return self.started

    @property
    def alive(self) -> bool:
        """Whether its process is still there."""
        return _is_held(self.folder / _LOCK)

    @contextlib.contextmanager
    def slot(self) -> Iterator[int | None]:
        """Hold a free slot, against other processes too; None where there is none now.

        An answer that is drawn token by token needs one for itself.
        """
        for number in range(self.slots):
            with _locked(self.folder / f"slot-{number}") as held:
                if held:
                    yield number
                    return
        yield None


@dataclass(frozen=True)
class Place:
    """The folder of a model that this process is about to serve."""

    folder: Path

    @property
    def socket(self) -> Path:
        """Where the server shall listen."""
        return self.folder / _SOCKET

    def publish(self, served: Served) -> None:
        """Let others find the model: it is ready."""
        write_atomically(self.folder / _STATE, json.dumps(asdict(served)).encode())
        self.touch()

    def touch(self) -> None:
        """Note that the model is at work."""
        (self.folder / _ACTIVE).touch()

    def clear(self) -> None:
        """Let nobody find it any more."""
        for name in (_STATE, _SOCKET, _ACTIVE):
            (self.folder / name).unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int, int]:
    """What changes when a file does. Raises OSError."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


def folder_of(model: Path) -> Path:
    """The folder of a model file, which need not exist."""
    return runtime_dir() / hashlib.sha256(os.fsencode(model.resolve())).hexdigest()[:16]


@contextlib.contextmanager
def taken(model: Path) -> Iterator[Place]:
    """Take the place of `model`, for as long as this lasts.

    Raises UsageError where another process has it, or where none can be made.
    """
    folder = folder_of(model)
    _make_private(folder)
    if len(os.fsencode(folder / _SOCKET)) > _LONGEST_SOCKET:
        raise UsageError(
            f"the path {folder} is too long for a socket",
            hint="Set XDG_RUNTIME_DIR to a short one.",
        )
    with _locked(folder / _LOCK, seconds=_PROBING_SECONDS) as held:
        if not held:
            other = read(folder)
            by = f" by process {other.pid}" if other else "; it is being loaded"
            raise UsageError(
                f"{model.name} is served already{by}",
                hint="Use it as it is, or end it first: mistral-cli serve stop.",
            )
        place = Place(folder)
        place.clear()
        umask = os.umask(0o077)  # of the keys that are written there
        try:
            yield place
        finally:
            os.umask(umask)
            place.clear()


def read(folder: Path) -> Served | None:
    """What is said in `folder`; None where nothing can be trusted or understood."""
    try:
        if not _is_private(folder):
            return None
        told: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        found = Served(**{**told, "file": tuple(told["file"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if found.folder == folder else None


def all_served() -> list[Served]:
    """The models that are served now, the oldest first."""
    with contextlib.suppress(OSError):
        found = [read(folder) for folder in runtime_dir().iterdir()]
        return sorted((s for s in found if s and s.alive), key=lambda served: served.started)
    return []


def _make_private(folder: Path) -> None:
    try:
        # One by one: the parents that `mkdir` makes are open to all. Where no runtime folder is
        # set, the outermost is made anew below /tmp.
        for each in (folder.parents[1], folder.parent, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours_alone(each):
                raise UsageError(
                    f"{each} is not this user's alone",
                    hint="Remove it, or set XDG_RUNTIME_DIR to a folder of yours.",
                )
    except OSError as error:
        raise UsageError(
            f"no folder for the socket can be made: {error}",
            hint="Set XDG_RUNTIME_DIR to a folder of yours.",
        ) from error


def _is_private(folder: Path) -> bool:
    """Whether nobody else could have put anything there. Raises OSError."""
    return _is_ours_alone(folder.parent) and _is_ours_alone(folder)


def _is_ours_alone(folder: Path) -> bool:
    state = folder.lstat()
    return state.st_uid == os.getuid() and not state.st_mode & 0o077


@contextlib.contextmanager
def _locked(file: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold the lock `file`, and yield whether that was possible in time."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + seconds
    try:
        while not (held := _flock(descriptor, fcntl.LOCK_EX)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        yield held
    finally:
        os.close(descriptor)


def _is_held(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _flock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
