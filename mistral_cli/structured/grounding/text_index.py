"""The text that a grounded answer is taken from: its spans and its numbers.

A span runs from the start of one unit to the end of another. A unit is a word, a number, a single
symbol, or one character of a script that puts no spaces between words. A run of whitespace counts
as one space, because no model can be expected to copy the line breaks of its input. The answer
that the user gets quotes the original text, with its own whitespace.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate
from typing import Any

from mistral_cli.structured.grounding.dates import written_dates
from mistral_cli.system.strict_json import is_exact

# Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han.
_NO_SPACES = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# A comma between two words, without a space, separates values, not thousands.
_LIST_BEFORE, _LIST_AFTER = r"(?<![,;])", r"(?![,;]\S)"
_UNIT = re.compile(
    r"(?P<space>\s+)"
    rf"|{_LIST_BEFORE}(?<!\d[.,])(?:\d{{1,3}}(?:[.,]\d{{3}})+(?:[.,]\d+)?|\d+[.,]\d+)"
    rf"(?![.,]?\d){_LIST_AFTER}|(?<!\d\.)\d+\.\d+(?!\.?\d)|\d+"
    rf"|[{_NO_SPACES}]|[^\W\d_{_NO_SPACES}]+"
    r"|.",
    re.DOTALL,
)
_UNSPACED = re.compile(f"[{_NO_SPACES}]")
_SKIN_TONES = "".join(map(chr, range(0x1F3FB, 0x1F400)))
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_JOINER = "\u200d"

_NUMERAL = re.compile(r"\d+(?:[.,'\u2019]\d+)*|(?<![\w.])\.\d+")
_VALUE_NEXT = re.compile(r"[,;]\S")
_SPACED_NUMERAL = re.compile(
    r"(?<![\d.,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[.,]\d+)?(?![.,]?\d)"
)
_INDIAN = re.compile(r"\d{1,2}(?:,\d\d)+,\d{3}(?:\.\d+)?")
_GROUPED = re.compile(r"\d{1,3}([.,'\u2019])\d{3}(?:\1\d{3})*(?:(?!\1)[.,]\d+)?")
_DECIMAL = re.compile(r"\d*(?:[.,]\d+)?")
_SIGN = re.compile(r"(?<!\w)[-\u2212]\Z")
_EXPONENT = re.compile(r"[eE][+-]?[0-9]{1,3}(?!\w)")

_MAX_NUMBER_LENGTH = 300  # characters; a float cannot hold a longer one
_MAX_CANDIDATE_LENGTH = 40  # units; a UUID has at most 36
_MAX_CANDIDATES = 5000

CharSpan = tuple[int, int]
"""A range of characters in the text: the first one, and the one after the last."""


class TextIndex:
    """A text cut into units, which finds spans and numbers in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.units: list[str] = []
        self._positions: list[int] = []
        for start, unit in _units(text.strip()):
            self.units.append(" " if unit.isspace() else unit)
            self._positions += range(start, start + len(self.units[-1]))
        self._offset = len(text) - len(text.lstrip())
        self._flat = "".join(self.units)

    @cached_property
    def _edges(self) -> list[int]:
        """The positions between units in the flat text, from 0 to its length."""
        return list(accumulate(map(len, self.units), initial=0))

    @cached_property
    def _edge_set(self) -> frozenset[int]:
        return frozenset(self._edges)

    def locate(self, value: str) -> CharSpan | None:
        """Find the first occurrence of `value`, whatever its whitespace; None if there is none."""
        return next(self.occurrences(value), None)

    def occurrences(self, value: str) -> Iterator[CharSpan]:
        """Yield the occurrences of `value`, whatever its whitespace; they do not overlap."""
        flat, edges = " ".join(value.split()), self._edge_set
        start = self._flat.find(flat) if flat else -1
        while start >= 0:
            end = start + len(flat)
            is_span = start in edges and end in edges
            if is_span:
                last = self._positions[end - 1]
                yield self._positions[start] + self._offset, last + 1 + self._offset
            start = self._flat.find(flat, end if is_span else start + 1)

    def has_span(self, min_length: int, max_length: float) -> bool:
        """Whether some span has `min_length` to `max_length` characters."""
        edges = self._edges
        for start in edges[:-1]:
            if self._flat[start] == " ":
                continue
            for end in edges[bisect_left(edges, start + min_length) :]:
                if end - start > max_length:
                    break
                if self._flat[end - 1] != " ":
                    return True
        return False

    def candidates(
        self, admits: Callable[[str], bool], *, with_spaces: bool = True
    ) -> list[str] | None:
        """List the distinct spans that `admits` accepts; None if there are too many."""
        spans: dict[str, None] = {}
        edges = self._edges
        for first, start in enumerate(edges[:-1]):
            if self._flat[start] == " ":
                continue
            for end in edges[first + 1 : first + 1 + _MAX_CANDIDATE_LENGTH]:
                if self._flat[end - 1] != " ":
                    span = self._flat[start:end]
                    if span not in spans and admits(span):
                        spans[span] = None
                elif not with_spaces:
                    break
            if len(spans) > _MAX_CANDIDATES:
                return None
        return list(spans)

    @cached_property
    def numbers(self) -> dict[str, CharSpan]:
        """Every number that the text can be read to contain, as JSON, and its first occurrence.

        A number that would be rounded when the answer is parsed is not among them.
        """
        first_spans: dict[str, CharSpan] = {}
        for literal, span in _numbers(self.text):
            if len(literal) <= _MAX_NUMBER_LENGTH and is_exact(literal):
                first_spans.setdefault(literal, span)
        return first_spans

    @cached_property
    def dates(self) -> dict[str, CharSpan]:
        """The dates that the text writes in its own way, as ISO dates, and where they come first.

        Those with more than one meaning are not among them.
        """
        first_spans: dict[str, CharSpan] = {}
        for iso, span in written_dates(self.text):
            first_spans.setdefault(iso, span)
        return first_spans

    def locate_number(self, value: float) -> CharSpan | None:
        """Find the first occurrence of the number `value`; None if there is none."""
        return self._numbers_by_value.get(value)

    @cached_property
    def _numbers_by_value(self) -> dict[Any, CharSpan]:
        by_value: dict[Any, CharSpan] = {}
        for literal, span in self.numbers.items():
            by_value.setdefault(json.loads(literal), span)
        return by_value


def _units(text: str) -> Iterator[tuple[int, str]]:
    """Cut `text` into units; an accent stays with its letter, a joined emoji stays whole."""
    start, unit = 0, ""
    for match in _UNIT.finditer(text):
        if unit and _extends(match[0], unit):
            unit += match[0]
            continue
        if unit:
            yield start, unit
        start, unit = match.start(), match[0]
    if unit:
        yield start, unit


def _extends(following: str, unit: str) -> bool:
    if unit.isspace() or following.isspace():
        return False
    if _is_mark(following[0]) or _JOINER in (following[0], unit[-1]):
        return True
    if len(unit) == 1 and unit in _FLAG_LETTERS and following in _FLAG_LETTERS:
        return True
    return _is_mark(unit[-1]) and following[0].isalpha() and not _UNSPACED.match(following)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M") or character in _SKIN_TONES


def _numbers(text: str) -> Iterator[tuple[str, CharSpan]]:
    """Yield every number that `text` can be read to contain; one numeral may mean several."""
    for match in _NUMERAL.finditer(text):
        listed = text[match.start() - 1 : match.start()] in (",", ";") or _VALUE_NEXT.match(
            text, match.end()
        )
        parts = [match] if not listed and list(_readings(match[0])) else _parts(text, match, ",")
        for part in parts:
            readings = list(_readings(part[0]))
            for literal in readings:
                yield from _with_sign_and_exponent(text, part, literal)
            for digits in () if readings else _parts(text, part, ".,'\u2019"):  # a date, a version
                yield _literal(digits[0]), digits.span()
    for match in _SPACED_NUMERAL.finditer(text):
        literal = _literal(re.sub(r"\s", "", match[0]).replace(",", "."))
        yield from _with_sign_and_exponent(text, match, literal)


def _parts(text: str, match: re.Match[str], marks: str) -> list[re.Match[str]]:
    """Split a match at `marks`."""
    return list(re.compile(f"[^{marks}]+").finditer(text, *match.span()))


def _readings(numeral: str) -> Iterator[str]:
    """Yield what `numeral` can mean: "1,200" is 1200 in one country and 1.2 in another."""
    if match := _GROUPED.fullmatch(numeral):
        yield _literal(numeral.replace(match[1], "").replace(",", "."))
    if _DECIMAL.fullmatch(numeral):
        yield _literal(numeral.replace(",", "."))
    if _INDIAN.fullmatch(numeral):
        yield _literal(numeral.replace(",", ""))


def _literal(digits: str) -> str:
    """Write `digits`, of any script, as a JSON number."""
    ascii_digits = "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in digits)
    whole, point, fraction = ascii_digits.partition(".")
    return (whole.lstrip("0") or "0") + point + fraction


def _with_sign_and_exponent(
    text: str, match: re.Match[str], literal: str
) -> Iterator[tuple[str, CharSpan]]:
    """Yield the number `literal` alone, then with its exponent, then with its sign."""
    start, end = match.span()
    yield literal, (start, end)
    if exponent := _EXPONENT.match(text, end):
        literal, end = literal + exponent[0], exponent.end()
        yield literal, (start, end)
    if _SIGN.search(text[max(start - 2, 0) : start]):
        yield f"-{literal}", (start - 1, end)
