"""The process's surroundings: its standard streams, environment variables and width.

No other module asks `isatty` of stdin or stdout. Tests build a `Terminal` over their own streams
instead of patching `sys`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

from mistral_cli.system.reporter import Reporter
from mistral_cli.system.streams import open_standard_streams

MAX_WIDTH = 120


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
        """Return the terminal of this process; call it once."""
        open_standard_streams()
        return cls(sys.stdin, sys.stdout, sys.stderr)

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
        self._print(f"{question} [y/N] ", end="")
        answer = self.stdin.readline() if self.stdin else ""
        return answer.strip().lower() in ("y", "yes")
