"""The process's surroundings as one object: streams, what they are, and where notes go.

No other module asks `isatty` or writes to stderr. Tests build a `Terminal` over their
own streams instead of patching `sys`.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

MAX_WIDTH = 120
_EXACT_PATHS = "mistral_cli.exact_paths"
_ERASE_LINE = "\r\x1b[K"


@dataclass
class Terminal:
    """Standard streams, environment variables and verbosity of this run.

    `line_begun` is whether the terminal at stdout shows the beginning of a line, whose place
    the passing status line would take.
    """

    stdin: TextIO | None
    stdout: TextIO
    stderr: TextIO
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    quiet: bool = False
    verbose: bool = False
    warnings: list[str] = field(default_factory=list)
    line_begun: bool = False
    _status_shown: bool = False

    @classmethod
    def from_process(cls) -> Terminal:
        """The real thing. A closed stream (`>&-`) becomes one that drops what it gets."""
        stdout, stderr = _printable(sys.stdout), _printable(sys.stderr)
        return cls(sys.stdin, stdout, stderr)

    @property
    def stdout_is_terminal(self) -> bool:
        """Whether a person is at stdout."""
        return self.stdout.isatty()

    @property
    def stderr_is_terminal(self) -> bool:
        """Whether a person is at stderr."""
        return self.stderr.isatty()

    @property
    def stdin_is_terminal(self) -> bool:
        """Whether a person is at stdin."""
        return self.stdin is not None and self.stdin.isatty()

    @property
    def width(self) -> int:
        """Columns to wrap at: the terminal's width, at most 120 (the article's width)."""
        return min(shutil.get_terminal_size((80, 24)).columns, MAX_WIDTH)

    def note(self, message: str) -> None:
        """One line on stderr unless `-q`."""
        if not self.quiet:
            self._line(f"mistral-cli: {message}")

    def warn(self, message: str) -> None:
        """A note that also goes into `warnings`, for the JSON envelope."""
        self.warnings.append(message)
        self.note(f"warning: {message}")

    def info(self, message: str) -> None:
        """One line on stderr with `-v`."""
        if self.verbose:
            self.note(message)

    def error(self, message: str, hint: str, details: str = "") -> None:
        """What went wrong and what to do, on stderr, also with `-q`."""
        self._line(f"mistral-cli: error: {message}")
        for more in filter(None, (hint, details)):
            self._line(f"  {more}")

    def tell(self, line: str) -> None:
        """One line of an error's details on stderr, also with `-q`."""
        self._line(line)

    def status(self, text: str) -> None:
        """Replace the passing status line; only a terminal shows it."""
        if self.line_begun:
            return
        if self.stderr_is_terminal and not self.quiet and self.env.get("TERM") != "dumb":
            columns = shutil.get_terminal_size((80, 24)).columns
            self.stderr.write(_ERASE_LINE + text[: columns - 1])
            self.stderr.flush()
            self._status_shown = True

    def clear_status(self) -> None:
        """Take the status line away before anything else is printed."""
        if self._status_shown:
            self.stderr.write(_ERASE_LINE)
            self.stderr.flush()
            self._status_shown = False

    @property
    def can_ask(self) -> bool:
        """Whether a person can be asked something."""
        return self.stdin_is_terminal and self.stderr_is_terminal

    def ask(self, question: str) -> bool:
        """Whether the person at the terminal says yes; an empty line is no."""
        self.clear_status()
        self.stderr.write(f"{question} [y/N] ")
        self.stderr.flush()
        answer = self.stdin.readline() if self.stdin else ""
        return answer.strip().lower() in ("y", "yes")

    def _line(self, text: str) -> None:
        self.clear_status()
        # A full disk or a closed pipe behind stderr: there is nobody left to tell.
        with contextlib.suppress(OSError):
            print(text, file=self.stderr, flush=True)


def _printable(stream: TextIO | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w")
    if isinstance(stream, TextIOWrapper):
        # Cron's locale can be ASCII: an answer in Japanese must not end in a traceback.
        if stream.isatty():
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8", errors=_EXACT_PATHS)
    return stream


def _exact_paths(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write the bytes of a path that is not UTF-8 as the system gave them; others become "?"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start]
    is_byte = "\udc80" <= wrong <= "\udcff"
    return wrong.encode("utf-8", "surrogateescape") if is_byte else "?", error.start + 1


codecs.register_error(_EXACT_PATHS, _exact_paths)


def drop_the_rest(stream: TextIO) -> None:
    """Point a failed `stream` at nothing: the interpreter flushes it once more at the end."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
