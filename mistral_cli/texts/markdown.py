"""Finds the prose in a Markdown document, by CommonMark's block structure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_MATTER = re.compile(
    r"\ufeff?(?:---[ \t]*\r?\n(?:.*\r?\n)*?(?:---|\.\.\.)|\+\+\+[ \t]*\r?\n(?:.*\r?\n)*?\+\+\+)"
    r"[ \t]*(?:\r?\n|\Z)|\ufeff"
)
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_CELL = re.compile(r"(?:\\.|[^|\\]|\\(?=\Z))+")
# Extensions that CommonMark lacks: check boxes, footnotes, definitions, alerts, attributes.
_MARKER = re.compile(r"\[[ xX]\]\s+|\[\^[^\]\s]+\]:\s*|:\s+|\[!\w+\]\s*|:::.*\Z|\{[:%#.].*\}\s*\Z")
_FENCE = "$$"


def markdown_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each paragraph, heading and table cell, without its markers.

    Front matter, code, HTML, link definitions and `$$` formulas are left out.
    """
    front = _FRONT_MATTER.match(text)
    begin = front.end() if front else 0
    lines = [(line.start(1), line.end(1)) for line in _LINE.finditer(text, begin)]
    in_row = False
    for token in _parser().parse(text[begin:]):
        in_row = token.type != "tr_close" and (in_row or token.type == "tr_open")
        if token.type == "tr_open" and token.map:
            for cell in _CELL.finditer(text, *lines[token.map[0]]):
                yield _stripped(text, cell.start(), cell.end())
        elif token.type == "inline" and token.map and not in_row:
            content = token.content.split("\n")
            yield from _runs(text, lines[token.map[0] :][: len(content)], content)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable("inline")


def _runs(text: str, lines: list[tuple[int, int]], content: list[str]) -> Iterator[tuple[int, int]]:
    """Yield runs of neighbouring lines of a paragraph, outside its formulas and markers."""
    run: list[tuple[int, int]] = []
    formula = False
    for (start, end), line in zip(lines, content, strict=True):
        words = line.strip()
        at = max(text.rfind(words, start, end), start)
        begin, end = _unmarked(text, at, at + len(words))
        fences = words.count(_FENCE)
        in_formula = formula or (fences and words.startswith(_FENCE))
        formula ^= bool(fences % 2)
        if run and (begin > at or in_formula or begin == end):
            yield run[0][0], run[-1][1]
            run = []
        if begin < end and not in_formula:
            run.append((begin, end))
    if run:
        yield run[0][0], run[-1][1]


def _unmarked(text: str, start: int, end: int) -> tuple[int, int]:
    while marker := _MARKER.match(text, start, end):
        start = marker.end()
    return _stripped(text, start, end)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    words = text[start:end]
    start += len(words) - len(words.lstrip())
    return start, start + len(words.strip())
