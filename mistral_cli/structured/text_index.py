"""The text that a grounded answer is taken from: its spans, and the numbers in it.

A span runs from the beginning of one chunk to the end of another. A chunk is a word, a
number, a single sign, or one character of a script that puts no spaces between words. Runs of
whitespace count as one space: where a line happens to break is no part of an answer that the
model could be expected to copy. What is reported in the end is the text as it stands.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate
from typing import Any

# Thai, Lao, Tibetan, Myanmar, Khmer, kana, Han.
_NO_SPACES = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# A comma that stands between two words without a space separates values, not thousands.
_LIST_BEFORE, _LIST_AFTER = r"(?<![,;])", r"(?![,;]\S)"
_CHUNK = re.compile(
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

_LONGEST_NUMBER = 300  # characters; longer ones are none that a float can hold
_LONGEST_CANDIDATE = 40  # chunks; a UUID has at most 36
_MOST_CANDIDATES = 5000

Place = tuple[int, int]
"""Where something stands in the text: its first character and the one after its last."""


class Source:
    """A text, cut into chunks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.chunks: list[str] = []
        self._positions: list[int] = []
        for start, chunk in _chunks(text.strip()):
            self.chunks.append(" " if chunk.isspace() else chunk)
            self._positions += range(start, start + len(self.chunks[-1]))
        self._offset = len(text) - len(text.lstrip())
        self._flat = "".join(self.chunks)

    @cached_property
    def _edges(self) -> list[int]:
        """Where chunks meet in the flat text, from 0 to its length."""
        return list(accumulate(map(len, self.chunks), initial=0))

    def locate(self, value: str) -> Place | None:
        """Where `value` first stands, whatever its whitespace; None if it nowhere does."""
        flat = " ".join(value.split())
        edges = set(self._edges)
        start = self._flat.find(flat) if flat else -1
        while start >= 0:
            end = start + len(flat)
            if start in edges and end in edges:
                return self._positions[start] + self._offset, self._positions[
                    end - 1
                ] + 1 + self._offset
            start = self._flat.find(flat, start + 1)
        return None

    def has_span(self, shortest: int, longest: float) -> bool:
        """Whether some span has from `shortest` to `longest` characters."""
        edges = self._edges
        for start in edges[:-1]:
            if self._flat[start] == " ":
                continue
            for end in edges[bisect_left(edges, start + shortest) :]:
                if end - start > longest:
                    break
                if self._flat[end - 1] != " ":
                    return True
        return False

    def candidates(
        self, admits: Callable[[str], bool], *, with_spaces: bool = True
    ) -> list[str] | None:
        """The spans that `admits` lets through; None if there are too many to list."""
        found: dict[str, None] = {}
        edges = self._edges
        for first, start in enumerate(edges[:-1]):
            if self._flat[start] == " ":
                continue
            for end in edges[first + 1 : first + 1 + _LONGEST_CANDIDATE]:
                if self._flat[end - 1] != " ":
                    span = self._flat[start:end]
                    if span not in found and admits(span):
                        found[span] = None
                elif not with_spaces:
                    break
            if len(found) > _MOST_CANDIDATES:
                return None
        return list(found)

    @cached_property
    def numbers(self) -> dict[str, Place]:
        """Every number that the text can be read to hold, as JSON, and where it first stands."""
        found: dict[str, Place] = {}
        for literal, place in _numbers(self.text):
            if len(literal) <= _LONGEST_NUMBER and math.isfinite(float(literal)):
                found.setdefault(literal, place)
        return found

    def locate_number(self, value: float) -> Place | None:
        """Where the number `value` first stands; None if it nowhere does."""
        return self._numbers_by_value.get(value)

    @cached_property
    def _numbers_by_value(self) -> dict[Any, Place]:
        by_value: dict[Any, Place] = {}
        for literal, place in self.numbers.items():
            by_value.setdefault(json.loads(literal), place)
        return by_value


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Cut `text`; accents and joined emoji stay with what they belong to."""
    start, held = 0, ""
    for match in _CHUNK.finditer(text):
        if held and _belongs(match[0], held):
            held += match[0]
            continue
        if held:
            yield start, held
        start, held = match.start(), match[0]
    if held:
        yield start, held


def _belongs(chunk: str, before: str) -> bool:
    if before.isspace() or chunk.isspace():
        return False
    if _is_mark(chunk[0]) or _JOINER in (chunk[0], before[-1]):
        return True
    if len(before) == 1 and before in _FLAG_LETTERS and chunk in _FLAG_LETTERS:
        return True
    return _is_mark(before[-1]) and chunk[0].isalpha() and not _UNSPACED.match(chunk)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M") or character in _SKIN_TONES


def _numbers(text: str) -> Iterator[tuple[str, Place]]:
    for match in _NUMERAL.finditer(text):
        listed = text[match.start() - 1 : match.start()] in (",", ";") or _VALUE_NEXT.match(
            text, match.end()
        )
        parts = [match] if not listed and list(_readings(match[0])) else _parts(text, match, ",")
        for part in parts:
            readings = list(_readings(part[0]))
            for literal in readings:
                yield from _around(text, part, literal)
            for digits in () if readings else _parts(text, part, ".,'\u2019"):  # a date, a version
                yield _literal(digits[0]), digits.span()
    for match in _SPACED_NUMERAL.finditer(text):
        yield from _around(text, match, _literal(re.sub(r"\s", "", match[0]).replace(",", ".")))


def _parts(text: str, match: re.Match[str], marks: str) -> list[re.Match[str]]:
    """The pieces of a match between `marks`."""
    return list(re.compile(f"[^{marks}]+").finditer(text, *match.span()))


def _readings(numeral: str) -> Iterator[str]:
    """What `numeral` can mean: "1,200" is 1200 in one country and 1.2 in another."""
    if match := _GROUPED.fullmatch(numeral):
        yield _literal(numeral.replace(match[1], "").replace(",", "."))
    if _DECIMAL.fullmatch(numeral):
        yield _literal(numeral.replace(",", "."))
    if _INDIAN.fullmatch(numeral):
        yield _literal(numeral.replace(",", ""))


def _literal(digits: str) -> str:
    """`digits` of any script as a JSON number."""
    ascii_digits = "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in digits)
    whole, point, fraction = ascii_digits.partition(".")
    return (whole.lstrip("0") or "0") + point + fraction


def _around(text: str, match: re.Match[str], literal: str) -> Iterator[tuple[str, Place]]:
    """The number `literal` by itself, and together with its exponent and its sign."""
    start, end = match.span()
    yield literal, (start, end)
    if exponent := _EXPONENT.match(text, end):
        literal, end = literal + exponent[0], exponent.end()
        yield literal, (start, end)
    if _SIGN.search(text[max(start - 2, 0) : start]):
        yield f"-{literal}", (start - 1, end)
