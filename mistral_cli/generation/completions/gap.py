"""Where a text is continued: at its end, before a suffix, or at a cursor in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.texts.inputs import Text

_PLACE = re.compile(r"(?P<line>[0-9]{1,18})(?::(?P<column>[0-9]{1,18}))?")


class TextGap(NamedTuple):
    """The text before a gap and after it; None if there is nothing after it, not even a gap."""

    before: str
    after: str | None


def without_last_blanks(text: str) -> str:
    """What a model gets of a text that it continues: not the blanks after its last word.

    In most vocabularies a blank is the beginning of the next token. After "The capital of France
    is " SmolLM2 135M writes "21st-century Paris."; without the blank, " Paris." (greedy).
    Indentation stays: it says in which block the text goes on.
    """
    words = text.rstrip(" ")
    return words if words and not words.endswith(("\n", "\t")) else text


@dataclass
class BlankDropper:
    """Leaves out up to `number` blanks at the beginning of an answer, which its text has already.

    `receive` gets the rest.
    """

    number: int
    receive: Callable[[str], None]

    def feed(self, delta: str) -> None:
        """Receive a delta."""
        blanks = min(self.number, len(delta) - len(delta.lstrip(" ")))
        if rest := delta[blanks:]:
            self.number = 0
            self.receive(rest)
        else:
            self.number -= blanks


@dataclass(frozen=True)
class GapFinder:
    """Finds where a text is continued, as `--suffix` and `--cursor` say.

    `cursor` is "LINE:COLUMN" (from 1; the column is the character before which the gap is), "LINE"
    (its end), or a text that marks the place and is left out.
    """

    suffix: str | None = None
    cursor: str | None = None

    def find(self, text: Text) -> TextGap:
        """The gap in all of `text`, its last newline included. Raises UsageError."""
        whole = text.exact
        if self.cursor is None:
            return TextGap(whole, self.suffix or None)
        if place := _PLACE.fullmatch(self.cursor):
            column = place["column"]
            position = _position(whole, int(place["line"]), int(column) if column else None)
            return TextGap(whole[:position], whole[position:])
        before, found, after = whole.partition(self.cursor)
        if not found or self.cursor in after:
            count = "more than once" if found else "not"
            raise UsageError(
                f"{self.cursor!r} is {count} in the text ({text.source})",
                hint="--cursor is a text that marks the place once, or LINE:COLUMN.",
            )
        return TextGap(before, after)


def _position(text: str, line: int, column: int | None) -> int:
    """The index of a place in `text`. Raises UsageError."""
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        raise UsageError(
            f"--cursor is in line {line}, and the text has {len(lines)} lines",
            hint="Lines are counted from 1.",
        )
    length = len(lines[line - 1].removesuffix("\r"))
    if column is None:
        column = length + 1
    if not 1 <= column <= length + 1:
        raise UsageError(
            f"--cursor is in column {column}, and line {line} has {length} characters",
            hint=f"Columns are counted from 1; {length + 1} is the end of the line.",
        )
    return sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
