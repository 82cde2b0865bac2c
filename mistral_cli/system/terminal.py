"""The process's surroundings: its standard streams, environment variables and width.

No other module asks `isatty` of stdin or stdout. Tests build a `Terminal` over their own streams
instead of patching `sys`.
"""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from mistral_cli.system.reporter import Reporter

MAX_WIDTH = 120
_EXACT_PATHS = "mistral_cli.exact_paths"


class Terminal(Reporter):
    """A reporter that also has stdin, stdout and environment variables."""

    def __init__(
        self,
        stdin: TextIO | None,
        stdout: TextIO,
        stderr: TextIO,
        env: Mapping[str, str] | None = None,
        *,
        quiet: bool = False,
        verbose: bool = False,
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.env = os.environ if env is None else env
        super().__init__(stderr, quiet, verbose, dumb=self.env.get("TERM") == "dumb")

    @classmethod
    def from_process(cls) -> Terminal:
        """Return the terminal of this process; a closed stream (`>&-`) discards its output."""
        stdout, stderr = _printable(sys.stdout), _printable(sys.stderr)
        return cls(sys.stdin, stdout, stderr)

    @property
    def stdout_is_terminal(self) -> bool:
        """True if stdout goes to a terminal."""
        return self.stdout.isatty()

    @property
    def stdin_is_terminal(self) -> bool:
        """True if stdin comes from a terminal."""
        return self.stdin is not None and self.stdin.isatty()

    @property
    def width(self) -> int:
        """The columns to wrap at: the terminal's width, at most 120 (the article's width)."""
        return min(shutil.get_terminal_size((80, 24)).columns, MAX_WIDTH)

    @property
    def can_ask(self) -> bool:
        """True if there is a person to answer a question."""
        return self.stdin_is_terminal and self.stderr_is_terminal

    def ask(self, question: str) -> bool:
        """Ask a yes/no question and return the answer; an empty line means no."""
        self.clear_status()
        self.stderr.write(f"{question} [y/N] ")
        self.stderr.flush()
        answer = self.stdin.readline() if self.stdin else ""
        return answer.strip().lower() in ("y", "yes")


def _printable(stream: TextIO | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w")
    if isinstance(stream, TextIOWrapper):
        # Cron's locale may be ASCII: an answer in Japanese must not cause a traceback.
        if stream.isatty():
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8", errors=_EXACT_PATHS)
    return stream


def _exact_paths(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write the bytes of a path that is not UTF-8 as the system returned them; others as "?"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start]
    is_byte = "\udc80" <= wrong <= "\udcff"
    return wrong.encode("utf-8", "surrogateescape") if is_byte else "?", error.start + 1


codecs.register_error(_EXACT_PATHS, _exact_paths)


def drop_the_rest(stream: TextIO) -> None:
    """Send a failed `stream` to /dev/null: the interpreter flushes it again at exit."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
