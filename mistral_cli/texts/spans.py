"""Spans: the places in a document that are translated, or that hold words and are not."""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_LINE_END = re.compile(r"\r\n|\r|\n")


class Span(NamedTuple):
    """A place in a text. `kind` names what is left as it is there; empty if it is translated."""

    start: int
    end: int
    kind: str = ""


def lines_of(text: str, start: int = 0) -> list[Span]:
    """The lines from `start` on, without their ends; the last one is empty or lacks its end."""
    return [Span(line.start(1), line.end(1)) for line in _LINE.finditer(text, start)]


def stripped(text: str, start: int, end: int, kind: str = "") -> Span:
    """The span without the whitespace at both its ends."""
    words = text[start:end]
    start += len(words) - len(words.lstrip())
    return Span(start, start + len(words.strip()), kind)


def line_number(text: str, position: int) -> int:
    """The number, from 1, of the line that contains `position`."""
    return 1 + sum(1 for _ in _LINE_END.finditer(text, 0, position))
