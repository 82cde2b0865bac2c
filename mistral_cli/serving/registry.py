"""The registry of served models: one folder for each, which only this user can enter.

A folder holds the server's socket, a description of it, and a lock that the serving process
holds. The kernel releases the lock however that process ends, so a dead server is never mistaken
for a live one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mistral_cli import __version__
from mistral_cli.errors import UsageError, first_line, reason
from mistral_cli.models.gguf.split import parts_here
from mistral_cli.system.config import runtime_dir
from mistral_cli.system.files import write_atomically
from mistral_cli.system.strict_json import read_object, to_dataclass

_SOCKET, _STATE, _LOCK, _ACTIVE = "s.sock", "state.json", "lock", "active"
_LONGEST_SOCKET = 103  # bytes, on macOS
_PROBING_SECONDS = 1.0
_HINT = "Set XDG_RUNTIME_DIR to a folder of your own, with mode 700."
_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model that process `pid` has kept loaded since `started` (seconds since the epoch).

    The weights are in process `engine_pid`. `context_length` is the context of each slot, in
    tokens. After `idle_seconds` without work the process ends (0: never). `file` is the size,
    modification time and inode of the model file (of each part) when it was loaded.
    """

    pid: int
    started: float
    model: str
    path: str
    file: tuple[int, ...]
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
        """The folder that describes it."""
        return folder_of(Path(self.path))

    @property
    def socket(self) -> Path:
        """The socket its server listens on."""
        return self.folder / _SOCKET

    @property
    def last_active(self) -> float:
        """The time when it was last working, in seconds since the epoch."""
        try:
            return (self.folder / _ACTIVE).stat().st_mtime
        except OSError:
            return self.started

    @property
    def alive(self) -> bool:
        """True if its process still exists."""
        return _is_held(self.folder / _LOCK)

    @contextlib.contextmanager
    def slot(self) -> Iterator[int | None]:
        """Lock a free slot for this process and yield its number, or None if all are in use.

        An answer that is sampled token by token needs a slot of its own.
        """
        for number in range(self.slots):
            with _locked(self.folder / f"slot-{number}") as held:
                if held:
                    yield number
                    return
        yield None


@dataclass(frozen=True)
class Registration:
    """The folder of a model that this process serves, or is about to serve."""

    folder: Path

    @property
    def socket(self) -> Path:
        """The socket for the server to listen on."""
        return self.folder / _SOCKET

    def publish(self, served: ServedModel) -> None:
        """Let other processes find the model, which is ready."""
        write_atomically(self.folder / _STATE, json.dumps(asdict(served)).encode())
        self.touch()

    def touch(self) -> None:
        """Record that the model is working now."""
        (self.folder / _ACTIVE).touch()

    def clear(self) -> None:
        """Remove the files by which other processes find the model."""
        for name in (_STATE, _SOCKET, _ACTIVE):
            (self.folder / name).unlink(missing_ok=True)


def model_identity(path: Path) -> tuple[int, ...]:
    """Return values that differ if a file of the model was changed or replaced. Raises OSError."""
    states = [part.stat() for part in parts_here(path)]
    return tuple(n for each in states for n in (each.st_size, each.st_mtime_ns, each.st_ino))


def folder_of(model: Path) -> Path:
    """Return the folder for a model file; neither needs to exist."""
    return runtime_dir() / hashlib.sha256(os.fsencode(model.resolve())).hexdigest()[:16]


@contextlib.contextmanager
def claim(model: Path) -> Iterator[Registration]:
    """Hold the registration of `model`.

    Raises UsageError if another process holds it, or if its folder cannot be created.
    """
    if problem := why_unusable():
        raise UsageError(f"cannot serve a model: {problem}", hint=_HINT)
    folder = folder_of(model)
    _make_private(folder)
    if len(os.fsencode(folder / _SOCKET)) > _LONGEST_SOCKET:
        raise UsageError(
            f"the path {folder} is too long for a socket",
            hint="Set XDG_RUNTIME_DIR to a shorter path.",
        )
    with _locked(folder / _LOCK, seconds=_PROBING_SECONDS) as held:
        if not held:
            other = read_served(folder)
            by = f" by process {other.pid}" if other else "; it is being loaded"
            raise UsageError(
                f"{model.name} is already served{by}",
                hint="Use it as it is, or stop it first: mistral-cli serve stop.",
            )
        registration = Registration(folder)
        registration.clear()
        umask = os.umask(0o077)  # the description holds API keys
        try:
            yield registration
        finally:
            os.umask(umask)
            registration.clear()


def why_unusable() -> str:
    """Return why no model can be served or found here, or an empty text if one can.

    If no runtime folder is set, it is below /tmp, where any user can create it first.
    """
    try:
        folder = runtime_dir()
    except OSError as error:
        return first_line(error).partition(";")[0]  # then comes a hint of platformdirs
    return _problem(folder.parent) or _problem(folder)


def read_served(folder: Path) -> ServedModel | None:
    """Return the model described in `folder`, or None if that cannot be trusted or parsed."""
    try:
        if not _is_private(folder):
            return None
        state: dict[str, Any] = read_object((folder / _STATE).read_bytes())
        served = to_dataclass(ServedModel, {**state, "file": tuple(state["file"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return served if served.folder == folder else None


def served_models() -> list[ServedModel]:
    """Return the models that are served now, the oldest first."""
    with contextlib.suppress(OSError):
        described = [read_served(folder) for folder in runtime_dir().iterdir()]
        return sorted((s for s in described if s and s.alive), key=lambda served: served.started)
    return []


def none_served() -> str:
    """Return the message that no model is served, with the reason if none can be."""
    problem = why_unusable()
    return f"no model is served: {problem}" if problem else "no model is served"


def _make_private(folder: Path) -> None:
    try:
        # One by one, since everyone can enter the parents that `mkdir` creates.
        for each in (folder.parents[1], folder.parent, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if problem := _problem(each):
                raise UsageError(f"cannot serve a model: {problem}", hint=_HINT)
    except OSError as error:
        raise UsageError(
            f"cannot create a folder for the socket: {first_line(error)}",
            hint=_HINT,
        ) from error


def _is_private(folder: Path) -> bool:
    """Return true if only this user can have put files there. Raises OSError."""
    return not (_problem(folder.parent) or _problem(folder))


def _problem(folder: Path) -> str:
    """Return why `folder` is not one that only this user can use, or an empty text if it is."""
    try:
        state = folder.lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{folder} cannot be used: {reason(error)}"
    reasons = {
        "is a symbolic link": stat.S_ISLNK(state.st_mode),
        "is not a folder": not stat.S_ISDIR(state.st_mode),
        "belongs to another user": state.st_uid != os.getuid(),
        "is open to other users": bool(state.st_mode & 0o077),
        "is not writable": not os.access(folder, os.W_OK | os.X_OK),
    }
    return next((f"{folder} {reason}" for reason, applies in reasons.items() if applies), "")


@contextlib.contextmanager
def _locked(file: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Lock `file`, waiting for `seconds` at most; yield whether that worked."""
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
