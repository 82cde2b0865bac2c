"""Messages to the person at stderr: a status line, notes, warnings and errors.

Functions that only report take a `Reporter`. Those that read stdin, write to stdout or look at
environment variables take a `Terminal`, which is a `Reporter` too.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from mistral_cli.system.controls import LONGEST_LINE, on_one_line, without_controls

_ERASE_LINE = "\r\x1b[K"
_MOST_DETAILS = 100  # lines: a traceback, an answer that was rejected


@dataclass
class Reporter:
    """Writes messages to `stderr`. No other module writes there.

    Names and texts of others are part of many messages, so none reaches `stderr` as it is: each
    is one line, of limited length, in which control characters are shown as escapes.

    A passing status line is shown only on a terminal, and never with `quiet` or `dumb` (a
    terminal that cannot erase a line). `line_begun` is true while stdout shows the beginning of
    a line on the same terminal, which a status line would overwrite.
    """

    stderr: TextIO
    quiet: bool = False
    verbose: bool = False
    dumb: bool = False
    warnings: list[str] = field(default_factory=list)
    line_begun: bool = False
    _status_shown: bool = False

    @property
    def stderr_is_terminal(self) -> bool:
        """True if stderr goes to a terminal."""
        return self.stderr.isatty()

    def note(self, message: str) -> None:
        """Print one line, except with `-q`."""
        if not self.quiet:
            self._print(f"mistral-cli: {message}")

    def warn(self, message: str) -> None:
        """Print a note and add it to `warnings`, which the JSON output contains."""
        self.warnings.append(message)
        self.note(f"warning: {message}")

    def info(self, message: str) -> None:
        """Print one line with `-v` only."""
        if self.verbose:
            self.note(message)

    def error(self, message: str, hint: str, details: str = "") -> None:
        """Print what went wrong and what to do about it, even with `-q`."""
        self._print(f"mistral-cli: error: {message}")
        for line in (*filter(None, [hint]), *_lines(details)):
            self._print(f"  {line}")

    def error_detail(self, line: str) -> None:
        """Print one more line about an error, even with `-q`."""
        self._print(line)

    def aside(self, text: str) -> None:
        """Print a piece of a model's text that is not its answer, dim on a terminal; with `-q` too.

        An empty piece ends the line.
        """
        self.clear_status()
        text = without_controls(text)
        if self.stderr_is_terminal and not self.dumb and text:
            text = f"\x1b[2m{text}\x1b[22m"
        self._print_as_it_is(text or "\n")

    def status(self, text: str) -> None:
        """Show `text` as the passing status line, in place of the one before."""
        if self.quiet or self.dumb or self.line_begun or not self.stderr_is_terminal:
            return
        columns = shutil.get_terminal_size((80, 24)).columns
        self._print_as_it_is(_ERASE_LINE + on_one_line(text)[: columns - 1])
        self._status_shown = True

    def clear_status(self) -> None:
        """Erase the status line, before anything else is printed."""
        if self._status_shown:
            self._print_as_it_is(_ERASE_LINE)
            self._status_shown = False

    def _print(self, text: str, end: str = "\n") -> None:
        self.clear_status()
        self._print_as_it_is(on_one_line(text) + end)

    def _print_as_it_is(self, text: str) -> None:
        # If stderr fails (a full disk, a closed pipe), there is nowhere left to report that.
        with contextlib.suppress(OSError):
            self.stderr.write(text)
            self.stderr.flush()


def _lines(details: str) -> list[str]:
    """Return the lines of `details`; a long one is continued on the next, since people need it."""
    pieces = [piece for line in details.splitlines() for piece in _pieces(line)]
    if (left_out := len(pieces) - _MOST_DETAILS) > 0:
        half = _MOST_DETAILS // 2
        pieces[half:-half] = [f"… ({left_out:,} lines left out)"]
    return pieces


def _pieces(line: str) -> Iterator[str]:
    """Yield the pieces of a line, which end between words where there are blanks."""
    longest = LONGEST_LINE // 2  # leaves room for escapes and the indentation
    while len(line) > longest:
        end = line.rfind(" ", 1, longest) + 1 or longest
        yield line[:end]
        line = line[end:]
    yield line
