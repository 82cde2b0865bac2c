"""The beginning of an answer that streams: held back while it may be a preamble or flawed.

Most answers are released with their first words, so that the time to them stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.checks.preamble import may_become_preamble, without_preamble
from mistral_cli.generation.answer import AnswerEnded

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check
    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.checking.rules import AnswerRules

_LONGEST_LINE = 200  # characters of a first line that can be checked before it is complete


class Beginning:
    """Passes an answer on to `emit`, without its preamble, from where it is not suspicious.

    `refused` are the failed checks of a beginning that was not passed on.
    """

    def __init__(self, rules: AnswerRules, source: str, emit: Callable[[str], None]) -> None:
        self.refused: Sequence[Check] = ()
        self.released = False
        self._rules, self._source, self._emit = rules, source, emit
        self._held = ""
        self._written = ""

    def feed(self, delta: str) -> None:
        """Receive a delta. Raises AnswerEnded for a beginning that is refused."""
        if self.released:
            self._write(delta)
            return
        self._held += delta
        begun = self._without_preamble(self._held)
        if not (text := begun.rstrip()):
            return
        is_suspicious = self._rules.suspicious(begun)
        may_change = not self._rules.keeps_preamble and may_become_preamble(text)
        if (is_suspicious or may_change) and not _has_first_line(begun):
            return
        if is_suspicious:
            line = begun.partition("\n")[0][:_LONGEST_LINE]
            if failed := self._rules.failed_at_beginning(line):
                self.refused = failed
                raise AnswerEnded
        self.released = True
        self._write(begun)

    @property
    def written(self) -> str:
        """What was passed on."""
        return self._written

    def _without_preamble(self, text: str) -> str:
        if self._rules.keeps_preamble:
            return text
        return without_preamble(text, self._source)

    def _write(self, text: str) -> None:
        if text:
            self._written += text
            self._emit(text)


def _has_first_line(begun: str) -> bool:
    """Whether the first line is complete, or too long to wait for its end."""
    line, _, rest = begun.partition("\n")
    return bool(rest.strip()) or len(line) > _LONGEST_LINE


def stripped(answer: Answer, rules: AnswerRules, source: str) -> Answer:
    """`answer` without its preamble, unless the rules keep it."""
    if rules.keeps_preamble:
        return answer
    return replace(answer, text=without_preamble(answer.text, source).rstrip())
