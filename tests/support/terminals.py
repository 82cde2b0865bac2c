"""Terminals: over streams in memory, and real ones for the program as a process."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from typing import TextIO

from mistral_cli.system.terminal import Terminal


class TerminalStream(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def make_terminal(
    stdin: TextIO | bytes | None = None,
    *,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    **options: bool,
) -> Terminal:
    """Return a terminal over the given streams, or new ones, without environment variables."""
    if isinstance(stdin, bytes):
        stdin = io.TextIOWrapper(io.BytesIO(stdin))
    return Terminal(stdin, stdout or io.StringIO(), stderr or io.StringIO(), {}, **options)


def shown(terminal: Terminal) -> str:
    """Return what was written to the terminal's stderr."""
    assert isinstance(terminal.stderr, io.StringIO)
    return terminal.stderr.getvalue()


def on_a_terminal(
    *arguments: str | bytes | os.PathLike[str], columns: int = 80, stderr: int | None = None
) -> str:
    """Run the program with its streams on a new terminal; return what that receives.

    `stderr` is one of subprocess's constants, to send it elsewhere.
    """
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "mistral_cli", *arguments]
    process = subprocess.Popen(command, stdin=writer, stdout=writer, stderr=stderr or writer)
    os.close(writer)
    received = b""
    with suppress(OSError):  # the terminal closes with its last writer
        while data := os.read(reader, 4096):
            received += data
    os.close(reader)
    process.wait(timeout=60)
    return received.decode().replace("\r\n", "\n")
