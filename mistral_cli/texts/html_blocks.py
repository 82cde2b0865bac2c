"""Finds the prose in a block of HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mistral_cli.texts.spans import SYNTAX, Span, stripped

_PART = re.compile(
    r"(?P<comment><!--.*?(?:-->|\Z))"
    r"|(?P<declaration><!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z)|<![A-Za-z][^>]*>?)"
    r"|<(?P<raw>script|style|pre)\b(?:[^>]*>)?.*?(?:</(?P=raw)\s*>|\Z)"
    r"|<(?P<code>code|kbd|samp|tt)\b[^>]*>.*?</(?P=code)\s*>"
    r"|</?(?P<tag>[A-Za-z][\w:-]*)(?:\"[^\"]*\"|'[^']*'|[^>\"'])*>"
    r"|</?[A-Za-z][^<]*\Z",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(
    r"\s(?:alt|title|placeholder|aria-label)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE
)
_RAW_KINDS = {"script": "script", "style": "style sheet", "pre": "code block"}
# Tags inside a sentence. Any other tag ends it.
_INLINE = re.compile(
    "a|abbr|acronym|bd[io]|big|br?|cite|data|del|dfn|em|font|i|img|ins|label|mark|nobr|q|r[pt]|ruby"
    "|s|small|span|strike|strong|su[bp]|time|u|var|wbr"
)
_Run = list[tuple[int, int, str]]  # neighbours: texts (with an empty name) and inline tags
_BLANK_LINE = re.compile(r"\n[ \t]*(?=\n)")
_EMPTY = frozenset(("br", "img", "wbr"))


def html_spans(html: str) -> Iterator[Span]:
    """Yield the sentences of `html`, with the tags inside them, and what is left as it is."""
    run: _Run = []
    end = 0
    for part in _PART.finditer(html):
        name = (part["tag"] or ("code" if part["code"] else "")).lower()
        yield from _texts(html, run, end, part.start())
        end = part.end()
        if _INLINE.fullmatch(name) or part["code"]:
            run.append((*part.span(), name))
            continue
        yield from _sentence(html, run)
        run = []
        yield from _left_out(part)
    yield from _texts(html, run, end, len(html))
    yield from _sentence(html, run)


def _texts(html: str, run: _Run, start: int, end: int) -> Iterator[Span]:
    """Add the text to `run`; yield the sentence that ends at a blank line."""
    for blank in _BLANK_LINE.finditer(html, start, end):
        run.append((start, blank.start(), ""))
        yield from _sentence(html, run)
        run.clear()
        start = blank.end()
    if start < end:
        run.append((start, end, ""))


def _sentence(html: str, run: _Run) -> Iterator[Span]:
    """Yield the span of a run, without line breaks, pictures and blanks at its ends."""
    first, last = 0, len(run)
    while first < last and _is_blank(html, run[first]):
        first += 1
    while first < last and _is_blank(html, run[last - 1]):
        last -= 1
    for start, end, name in (*run[:first], *run[last:]):
        if name:
            yield Span(start, end, SYNTAX)
            yield from _attributes(html, start, end)
    if first < last:
        yield stripped(html, run[first][0], run[last - 1][1])


def _is_blank(html: str, part: tuple[int, int, str]) -> bool:
    start, end, name = part
    return name in _EMPTY or not (name or html[start:end].strip())


def _left_out(part: re.Match[str]) -> Iterator[Span]:
    if part["comment"]:
        yield Span(part.start() + len("<!--"), part.end(), "comment")
    elif part["raw"]:
        inside = part.string.find(">", part.start(), part.end()) + 1
        yield Span(inside or part.start(), part.end(), _RAW_KINDS[part["raw"].lower()])
    else:
        yield Span(*part.span(), SYNTAX)
        if part["tag"]:
            yield from _attributes(part.string, *part.span())


def _attributes(html: str, start: int, end: int) -> Iterator[Span]:
    for value in _ATTRIBUTE.finditer(html, start, end):
        yield Span(*value.span(value.lastindex or 0), "HTML attribute")
