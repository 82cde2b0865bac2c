"""Files that are replaced as a whole or not at all, and a private folder for temporary ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from mistral_cli.errors import MistralCliError, UsageError, reason

_leftovers = set[Path]()
"""Temporary files and folders that this process must not leave behind, however it is stopped."""

_PREFIX = "mistral-cli-"
_LOCK, _NEW_LOCK = "lock", "new"
_LONGEST_BASE = 64  # bytes: the whole path of a Unix socket may have 103 (macOS)
_SHORT_BASE = Path("/tmp")


def write_atomically(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`: after a crash it has its old content or the new one.

    A link is followed. Anything that is not a regular file (a pipe, `/dev/null`) is written to
    directly. Raises OSError.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with atomic_writer(path, temporary_beside(path)) as file:
        file.write(data)


def is_same_file(one: Path, other: Path) -> bool:
    """True if both names lead to one file or folder, through links of either kind."""
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return os.path.realpath(one) == os.path.realpath(other)


def refuse_to_overwrite(inputs: Iterable[Path], option: str, *outputs: Path) -> None:
    """Raise UsageError if one of the `outputs`, which `option` names, is an input or contains it.

    No --force may allow that.
    """
    for path in inputs:
        for output in outputs:
            if any(is_same_file(output, each) for each in (path, *path.absolute().parents)):
                what = "is an input" if is_same_file(output, path) else f"contains the input {path}"
                raise UsageError(f"{output} {what} of this command", hint=f"Use another {option}.")


TEMPORARY = ".mistral-cli-*.tmp"
"""The pattern of the names of files that a killed process leaves unfinished."""


def temporary_beside(path: Path) -> Path:
    """Return an unused name beside `path`, for `atomic_writer`."""
    return path.with_name(TEMPORARY.replace("*", os.urandom(8).hex()))


@contextlib.contextmanager
def atomic_writer(path: Path, temporary: Path) -> Iterator[BinaryIO]:
    """Yield a new file, `temporary` beside `path`, that replaces `path` unless an error occurs.

    Raises OSError.
    """
    _leftovers.add(temporary)
    try:
        # Not `tempfile`: it makes files that only the owner can read; these obey the umask.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _leftovers.discard(temporary)
    sync_folder(path.parent)


@contextlib.contextmanager
def unchanged_access_time(path: Path) -> Iterator[None]:
    """Restore the file's access time after the block, so that reading it does not count as use."""
    before = path.stat()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the file belongs to another user
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def sync_folder(folder: Path) -> None:
    """Make files created, renamed or deleted in `folder` survive a power cut, if possible."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(base: Path | None = None) -> Iterator[Path]:
    """Yield a new folder for sockets and temporary files that only this user can enter.

    It is in `base`, by default in the folder for temporary files.
    It is deleted afterwards. A process that was killed with SIGKILL leaves its folder behind;
    this removes such folders first. Raises MistralCliError if no folder can be created.
    """
    import tempfile

    try:
        if base is None:
            base = Path(tempfile.gettempdir())
            if len(os.fsencode(base)) > _LONGEST_BASE:
                base = _SHORT_BASE
        _remove_abandoned(base)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        _leftovers.add(folder)
        lock = _lock(folder)
    except OSError as error:
        raise MistralCliError(
            f"cannot create a temporary folder in {base}: {reason(error)}",
            hint="Set TMPDIR to a folder that you may write to, on a disk with free space.",
        ) from error
    try:
        yield folder
    finally:
        _remove(folder)
        _leftovers.discard(folder)
        os.close(lock)


@contextlib.contextmanager
def temporary_file_errors() -> Iterator[None]:
    """Name the folder in errors of the temporary files that the block writes: MistralCliError."""
    import tempfile

    try:
        yield
    except OSError as error:
        raise MistralCliError(
            f"cannot write a temporary file in {tempfile.gettempdir()}: {reason(error)}",
            hint="Set TMPDIR to a folder on a disk with free space.",
        ) from error


def remove_leftovers() -> None:
    """Remove the temporary files and folders of this process, which is about to end."""
    for path in list(_leftovers):
        _remove(path)
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def removed_if_killed() -> Iterator[None]:
    """Have a shell remove the temporary folders if this process ends within the `with` block.

    It waits at a pipe that the kernel closes when we end: 2 ms, since no code of ours can run where
    a signal ends the process.
    """
    import subprocess

    folders = list(_leftovers)  # other threads add to the set meanwhile
    if not folders:
        yield
        return
    waiting = 'read -r _ || exec rm -rf -- "$@"'
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", waiting, "sh", *map(os.fspath, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not reach it
        )
    except OSError:  # the next start removes the folders
        yield
        return
    with shell:
        try:
            yield
        finally:  # also after an error, which this process survives
            assert shell.stdin
            with contextlib.suppress(OSError):
                shell.stdin.write(b"\n")


def _lock(folder: Path) -> int:
    """Lock `folder` while this process lives; the kernel releases the lock when it ends.

    A process id would not do: two containers may share the folder, and each has its own numbers.
    """
    new = folder / _NEW_LOCK
    lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: never removed as abandoned
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder / _LOCK)  # only now: another process that sees the name finds it locked
    return lock


def _remove(folder: Path) -> None:
    """Remove `folder`, its lock file last: what cannot be removed now is found again later."""
    import shutil

    with contextlib.suppress(OSError):
        for each in folder.iterdir():
            if each.name not in (_LOCK, _NEW_LOCK):
                shutil.rmtree(each, ignore_errors=True)
                each.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(base: Path) -> None:
    for lock_file in base.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # locked, another user's, or already gone
            lock = os.open(lock_file, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock_file.parent)
            finally:
                os.close(lock)
