"""Terminals over streams in memory, for the code that reads, writes or reports."""

from __future__ import annotations

import io
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
