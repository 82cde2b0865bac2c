"""The beginning of an answer that streams: held back while it may be a preamble or flawed.

Most answers are released with their first word, so that the time to it stays the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check
    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.checking.rules import AnswerRules
    from mistral_cli.generation.planner import PreparedRequest

_OPENERS = ("sure", "certainly", "of course", "here", "below")
_PREAMBLE = re.compile(
    r"\A(?:sure|certainly|of course|here|below)\b[^\n]{0,120}:[*_]*\s*\n\s*(?=\S)", re.IGNORECASE
)
_LONGEST_LINE = 140  # characters of a first line that may be a preamble


class Beginning:
    """Passes an answer on to `emit`, without its preamble, from the moment it is not suspicious."""

    def __init__(
        self,
        rules: AnswerRules,
        prepared: PreparedRequest,
        emit: Callable[[str], None],
        *,
        rejects: bool = True,
    ) -> None:
        self.rejected: Sequence[Check] | None = None
        self._rules, self._emit, self._rejects = rules, emit, rejects
        self._source = prepared.prompt.text.text
        self._held = ""
        self._released = False
        self._written = ""

    def feed(self, text: str) -> None:
        """Receive a delta. Raises AnswerEnded for a beginning that is not to be printed."""
        if self._released:
            self._write(text)
            return
        self._held += text
        if self._must_wait():
            return
        self._write(remove_preamble(self._held) if self._strips else self._held)
        self._released = True

    def end(self, whole: str) -> str:
        """Write what is left of the answer `whole`, and return what was written in all."""
        text = remove_preamble(whole) if self._strips else whole
        if not self._released:
            self._write(text)
        return self._written

    @property
    def _strips(self) -> bool:
        return not self._rules.keeps_preamble

    def _must_wait(self) -> bool:
        text = self._held.lstrip()
        if not text:
            return True
        if not self._strips or "\n" in text.rstrip() or len(text) > _LONGEST_LINE:
            return False
        return may_be_preamble(text)

    def _write(self, text: str) -> None:
        if text:
            self._written += text
            self._emit(text)


def may_be_preamble(text: str) -> bool:
    """Whether the first line of an answer, which is not complete, may become a preamble."""
    start = text.lower()
    return any(opener.startswith(start) or start.startswith(opener) for opener in _OPENERS)


def remove_preamble(text: str) -> str:
    """`text` without a first line like "Here is the summary:"."""
    text = text.lstrip()
    return _PREAMBLE.sub("", text) or text


def without_preamble(answer: Answer) -> Answer:
    """`answer` without its preamble."""
    return replace(answer, text=remove_preamble(answer.text).rstrip())
