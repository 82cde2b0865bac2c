"""Spans: the places in a document that are translated, or that hold words and are not."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_LINE_END = re.compile(r"\r\n|\r|\n")

SYNTAX = "syntax"
"""The kind of a span that has letters and no words: an address, a tag, the name of a style."""


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


def line_numbers(text: str, positions: Iterable[int]) -> list[int]:
    """The numbers, from 1, of the lines that contain `positions`."""
    starts = [0, *(end.end() for end in _LINE_END.finditer(text))]
    return [bisect_right(starts, position) for position in positions]
