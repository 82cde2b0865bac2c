"""Reads standard input without hanging on a pipe that no process will ever write to.

Cron jobs, ssh, editors and services often pass on a pipe or socket as stdin and leave it open
and silent. A slow pipeline (`slow-command | mistral-cli ...`) looks the same at first, and its
text must not be dropped. So after a timeout, /proc tells the two apart: in a pipeline, a sibling
process holds the write end; only ancestors, or no visible process, hold that of an inherited
pipe. Without /proc (macOS) the program keeps waiting.
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

_BLOCK = 1 << 16  # what a pipe holds on Linux
_CHECK_INTERVAL = 1.0  # seconds between two checks that a slow pipeline still has a writer


class NoInput(Enum):
    """The reason why stdin gave no text."""

    CLOSED = "it is closed"
    IDLE = "nothing is writing to it"


def read_stdin(stdin: TextIO | None, timeout: float | None) -> bytes | NoInput:
    """Read stdin to its end; `timeout` and errors as in `stdin_blocks`."""
    blocks = stdin_blocks(stdin, timeout)
    return blocks if isinstance(blocks, NoInput) else b"".join(blocks)


def stdin_blocks(stdin: TextIO | None, timeout: float | None) -> Iterator[bytes] | NoInput:
    """Return the bytes of stdin in blocks, each as soon as it has arrived; wait for the first.

    After `timeout` seconds of silence, a pipe or socket is checked for a process that can write
    to it; None waits for the end without that check. Regular files and devices are read at once.
    Raises OSError if reading fails.
    """
    if stdin is None or stdin.closed:
        return NoInput.CLOSED
    try:
        fd = stdin.fileno()
    except OSError:  # a stream in memory
        return iter((_read_stream(stdin),))
    try:
        if timeout is not None and _may_stay_silent(fd) and not _becomes_ready(fd, timeout):
            return NoInput.IDLE
        blocks = read_blocks(fd)
        return chain((next(blocks, b""),), blocks)
    except OSError as error:
        if error.errno == errno.EBADF:
            return NoInput.CLOSED
        raise


def read_blocks(fd: int) -> Iterator[bytes]:
    """Yield the bytes of a pipe, socket or file as they arrive, in blocks of at most 64 KiB."""
    # `stdin.buffer.read()` would lose text: on a pipe that another program made non-blocking, it
    # returns the bytes so far as if they were all. With `select` first, every byte arrives.
    while select.select([fd], [], []) and (block := os.read(fd, _BLOCK)):
        yield block


def is_live(stdin: TextIO | None) -> bool:
    """Whether stdin is a pipe, socket or device, whose bytes may come one by one."""
    try:
        return stdin is not None and not stat.S_ISREG(os.fstat(stdin.fileno()).st_mode)
    except (OSError, ValueError):  # a stream in memory, or closed
        return False


def is_pipe(stdin: TextIO | None) -> bool:
    """Whether stdin is a pipe, so that a program was meant to write to it."""
    try:
        return stdin is not None and stat.S_ISFIFO(os.fstat(stdin.fileno()).st_mode)
    except (OSError, ValueError):  # a stream in memory, or closed
        return False


def _read_stream(stdin: TextIO) -> bytes:
    if hasattr(stdin, "buffer"):
        data: bytes = stdin.buffer.read()
        return data
    return stdin.read().encode("utf-8", "surrogateescape")


def _may_stay_silent(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _becomes_ready(fd: int, timeout: float) -> bool:
    """Wait for data or its end; False if no process is there to write."""
    if not Path("/proc/self/fd").is_dir():
        return True
    while not select.select([fd], [], [], timeout)[0]:
        if not _has_writer(fd):
            return False
        timeout = _CHECK_INTERVAL
    return True


def _has_writer(fd: int) -> bool:
    """Whether a process other than this one and its ancestors can write to the pipe at `fd`."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return False  # /proc does not show the other end of a socket
    # Compare the link texts ("pipe:[4711]") alone: `stat` could hang on a dead mount.
    pipe = Path(f"/proc/self/fd/{fd}").readlink()
    family = set(_ancestry(os.getpid()))
    others = (folder for folder in Path("/proc").glob("[0-9]*") if int(folder.name) not in family)
    return any(_writes_to(folder, pipe) for folder in others)


def _writes_to(process: Path, pipe: Path) -> bool:
    try:
        descriptors = list((process / "fd").iterdir())
    except PermissionError:
        return _in_our_pipeline(int(process.name))
    except OSError:  # the process has ended
        return False
    return any(_is_pipe(fd, pipe) and _is_writable(process, fd.name) for fd in descriptors)


def _is_pipe(fd: Path, pipe: Path) -> bool:
    with suppress(OSError):
        return fd.readlink() == pipe
    return False


def _is_writable(process: Path, number: str) -> bool:
    with suppress(OSError):
        flags = re.search(r"^flags:\s*(\d+)", (process / "fdinfo" / number).read_text(), re.M)
        return flags is not None and int(flags[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def _in_our_pipeline(pid: int) -> bool:
    # `sudo slow-command | mistral-cli`: another user's process cannot be inspected, but a shell
    # puts a whole pipeline into one process group. A zombie cannot be inspected either, and
    # never writes.
    process = _process(pid)
    return process is not None and process.group == os.getpgrp() and process.state != "Z"


def _ancestry(pid: int) -> Iterator[int]:
    """Yield `pid`, its parent, and so on."""
    while pid:
        yield pid
        process = _process(pid)
        pid = process.parent if process else 0


class _Process(NamedTuple):
    state: str
    parent: int
    group: int


def _process(pid: int) -> _Process | None:
    with suppress(OSError):
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The program's name, in parentheses, may contain spaces and parentheses.
        state, parent, group, *_ = line.rpartition(")")[2].split()
        return _Process(state, int(parent), int(group))
    return None
