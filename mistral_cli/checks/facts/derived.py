"""What a summary may say that its text does not: sums, shares, counts and spans of what it says."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from mistral_cli.checks.facts.facts import Clock, Day, Fact, Quantity
from mistral_cli.checks.facts.lexicon import small_words
from mistral_cli.checks.facts.numbers import is_rounded, nearest_float
from mistral_cli.checks.facts.units import measures

if TYPE_CHECKING:
    from mistral_cli.checks.facts.lexicon import Lexicon
    from mistral_cli.checks.facts.reader import FactText

_NEAR = 160
"""Characters within which numbers may be added up: about a long sentence."""

_FAR = 3 * _NEAR
"""The same if the summary says that it is a total."""

_ADDED = 5  # numbers that may be added up
_EACH = (2, 3)  # "each pays 2 million", "together they pay 4 million"
_PORTION = 60  # characters between a part and its whole
_SHARE_ROUNDED = 0.02  # two thirds are 65 %
_COMMON_SHARES = (Fraction(1, 2), Fraction(1, 3), Fraction(1, 4), Fraction(2, 3), Fraction(3, 4))
_SMALL_COUNT = 12
_LONGEST_ITEMS = (4, 9)  # words: "the United Kingdom of Great Britain and Northern Ireland"
_MANY_NUMBERS = 200
_ROUND = 100
"""Some of many numbers give almost any small one: there only larger ones are derived."""

_TOO_MANY = 2000
"""The sums, differences and shares of so many numbers give almost any other, and take seconds."""

_CUES = ("sums", "differences")  # tables of words.toml
_CUE_DISTANCE = 45  # characters of a word such as "more" from its number
_SPANS = ("year", "month", "d")
_ROUGH_SPANS = {"week": (7, 3), "month": (30.4, 5)}
"""In days: the length of a unit, and how much a rounded number of them may be off."""

_DAY_LENGTH = 1440  # minutes
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s", re.MULTILINE)
_ENUMERATED = re.compile(r"[^\s,、]{1,12}(?:、[^\s,、]{1,12}){1,11}")
_SENTENCE_END = re.compile(r"[.!?:\n]\s")
_WORDS = re.compile(r"[^\W\d_]+")

Kinds = dict[str, set[str]]
"""What numbers measure, under the value that follows from them."""


class DerivedValues:
    """The values that follow from the facts of a text."""

    def __init__(self, text: FactText) -> None:
        self._text = text
        self._plain: list[tuple[int, float, str]] = []
        self._dated: list[tuple[int, Day]] = []
        self._clocks: list[tuple[int, frozenset[int]]] = []
        self._last: tuple[int, frozenset[str]] = (-_PORTION, frozenset())
        for fact in text.facts:
            for atom in (atom for reading in fact.readings for atom in reading):
                if isinstance(atom, Day):
                    self._dated.append((fact.start, atom))
                elif isinstance(atom, Clock):
                    self._clocks.append((fact.start, atom.minutes))
                elif isinstance(atom, Quantity):
                    self._add(fact, atom)

    def _add(self, fact: Fact, atom: Quantity) -> None:
        if atom.units:
            self._last = fact.end, atom.units
        elif fact.counts and fact.start < self._last[0] + _PORTION:  # "18 months, 12 of them"
            for kind, value in measures(atom._replace(units=self._last[1])):
                self._plain.append((fact.start, nearest_float(value), kind))
        if fact.counts:
            word = self._text.prepared[fact.start : fact.end].lower()
            multiple = self._text.lexicon.is_multiple(word)
            for kind, value in [("multiple", atom.value)] if multiple else measures(atom):
                self._plain.append((fact.start, nearest_float(value), kind))
        elif not atom.units and not fact.word and 1000 <= atom.value < 3000:
            self._dated.append((fact.start, Day(year=int(atom.value))))
        if fact.hour and not atom.units and atom.value <= 24:
            self._clocks.append((fact.start, frozenset((int(atom.value * 60),))))

    def has(self, atom: Quantity, fact: Fact, written: FactText, *, counted: bool) -> bool:
        """True if a quantity of a summary follows from the text.

        If the text counts the same thing (`counted`), the number must be a share of that count, or
        the summary must say that it is a total or a difference.
        """
        if self._is_span(atom) or self._is_time(atom) or (not counted and self._is_count(atom)):
            return True
        if len(self._plain) > _TOO_MANY:
            return False
        if self._is_portion(atom):
            return True
        if len(self._plain) > _MANY_NUMBERS and atom.value < _ROUND:
            return False
        cues = _cues(fact, written)
        for kind, value in measures(atom):
            key = _key(nearest_float(value))
            known = _agrees(kind, self._shares.get(key))
            if not known and not counted and not kind:
                known = _agrees(kind, self._sums.get(key))
            if not known and "sums" in cues:
                known = _agrees(kind, self._totals.get(key)) or any(
                    _agrees(kind, self._single.get(_key(nearest_float(value / times))))
                    for times in _EACH
                )
            if not known and "differences" in cues:
                known = _agrees(kind, self._differences.get(key))
            if known:
                return True
        return False

    def _is_count(self, atom: Quantity) -> bool:
        """True if a small number may count what the text lists."""
        if atom.units or atom.value.denominator != 1 or not 2 <= atom.value <= _SMALL_COUNT:
            return False
        return int(atom.value) in self._list_lengths

    @cached_property
    def _list_lengths(self) -> set[int]:
        return set(_list_lengths(self._text.prepared, self._text.lexicon))

    # Dates and times

    def _is_span(self, atom: Quantity) -> bool:
        """True if so many days, about so many weeks or months, or years lie between two dates."""
        (name,) = atom.units if len(atom.units) == 1 else ("",)
        if name in _SPANS and atom.value in self._spans[name]:
            return True
        length, most = _ROUGH_SPANS.get(name, (0, 0))
        return bool(length) and any(
            abs(each - length * atom.value) < most for each in self._spans["d"]
        )

    @cached_property
    def _spans(self) -> dict[str, set[int]]:
        """The differences between dates that follow each other closely, also with both ends."""
        spans: dict[str, set[int]] = {name: set() for name in _SPANS}
        for at, (start, day) in enumerate(self._dated):
            for other_start, other in self._dated[at + 1 : at + _ADDED]:
                if other_start > start + _NEAR * 4:
                    break
                if day.weekday and other.weekday:
                    spans["d"].add((other.weekday - day.weekday) % 7 + 1)
                if day.year and other.year:
                    between = abs(other.year - day.year)
                    spans["year"] |= {between, between + 1}
                if day.month and other.month:
                    spans["month"].add((other.month - day.month) % 12)
                if between := _days_between(day, other):
                    spans["d"] |= {between, between + 1}
        return spans

    def _is_time(self, atom: Quantity) -> bool:
        """True if so many minutes, or about so many hours, lie between two times of the text."""
        if atom.units == {"h"}:
            return any(abs(each - 60 * atom.value) < 30 for each in self._times)
        return atom.units == {"min"} and atom.value in self._times

    @cached_property
    def _times(self) -> set[int]:
        times = set()
        for at, (start, minutes) in enumerate(self._clocks):
            for other_start, others in self._clocks[at + 1 : at + _ADDED]:
                if not start < other_start < start + _FAR:
                    continue
                times |= {(other - one) % _DAY_LENGTH for one in minutes for other in others}
        return times

    # Shares, sums and differences

    def _is_portion(self, atom: Quantity) -> bool:
        """True if a share, perhaps rounded, is that of a part in its whole: "1,300 of 2,000"."""
        if atom.units == {"percent"}:
            exact = {100 * share for share in self._portions}
            return atom.value in exact or any(is_rounded(atom.value, each) for each in exact)
        return not atom.units and (
            any(abs(atom.value - share) < _SHARE_ROUNDED for share in self._portions)
            or (atom.value in _COMMON_SHARES and nearest_float(atom.value) in self._ratios)
        )

    @cached_property
    def _ratios(self) -> set[float]:
        """The ratios of numbers that measure the same."""
        return {
            min(value, other) / max(value, other)
            for value, kind, other, other_kind, _ in self._neighbors(_FAR)
            if kind == other_kind and value and other
        }

    @cached_property
    def _portions(self) -> set[Fraction]:
        return {part / whole for part, whole in self._parts}

    @cached_property
    def _parts(self) -> set[tuple[Fraction, Fraction]]:
        """Each number that stands beside one that "of" names as its whole, and this one."""
        parts = set()
        for one, other in pairwise(fact for fact in self._text.facts if fact.check == "numbers"):
            first, second = one.readings[0][0], other.readings[0][0]
            if (
                isinstance(first, Quantity)
                and isinstance(second, Quantity)
                and other.start - one.end < _PORTION
            ):
                if second.value > first.value and self._is_whole(other):
                    parts.add((first.value, second.value))
                elif first.value > second.value and self._is_whole(one):
                    parts.add((second.value, first.value))
        return parts

    def _is_whole(self, fact: Fact) -> bool:
        """True for a number after "of", "out of the" and the like."""
        before = self._text.prepared[max(0, fact.start - 16) : fact.start].lower()
        after = self._text.prepared[fact.end : fact.end + 8]
        words = _WORDS.findall(before)[-2:]
        return not small_words("parts_of").isdisjoint(words) or "うち" in after or "中" in after

    def _neighbors(self, near: int) -> Iterator[tuple[float, str, float, str, float]]:
        """Two numbers that stand near each other, and the sum from the first to the second."""
        for at, (start, value, kind) in enumerate(self._plain):
            total = value
            for other_start, other, other_kind in self._plain[at + 1 : at + _ADDED]:
                if other_start > start + near:
                    break
                if kind == other_kind:
                    total += other
                yield value, kind, other, other_kind, total

    @cached_property
    def _single(self) -> Kinds:
        single = defaultdict(set)
        for _, value, kind in self._plain:
            single[_key(value)].add(kind)
        return single

    @cached_property
    def _sums(self) -> Kinds:
        return self._added(_NEAR)

    @cached_property
    def _totals(self) -> Kinds:
        return self._added(_FAR)

    def _added(self, near: int) -> Kinds:
        sums = defaultdict(set)
        for value, kind, other, other_kind, total in self._neighbors(near):
            if kind == other_kind:
                sums[_key(total)].add(kind)
                sums[_key(value + other)].add(kind)
        return sums

    @cached_property
    def _differences(self) -> Kinds:
        differences = defaultdict(set)
        for value, kind, other, other_kind, _ in self._neighbors(_NEAR):
            if kind == other_kind:
                differences[_key(abs(value - other))].add(kind)
        return differences

    @cached_property
    def _shares(self) -> Kinds:
        """Shares, and equal parts of money: each measures what the whole does."""
        shares = defaultdict(set)
        for value, kind, other, other_kind, _ in self._neighbors(_NEAR):
            for part, part_kind, whole, whole_kind in (
                (value, kind, other, other_kind),
                (other, other_kind, value, kind),
            ):
                if part_kind == "multiple" or (part_kind in ("", "ratio") and 0 < part < 1):
                    shares[_key(part * whole)].add(whole_kind)
                if not part_kind and part in range(2, _SMALL_COUNT + 1) and whole_kind.isupper():
                    shares[_key(whole / part)].add(whole_kind)  # an amount in instalments
        return shares


def _days_between(day: Day, other: Day) -> int:
    """The days from one date to the next; 0 if one of them has no day or no month."""
    if not (day.day and other.day and day.month and other.month):
        return 0
    try:
        first = date(day.year or other.year or 2001, day.month, day.day)
        return abs((date(other.year or first.year, other.month, other.day) - first).days)
    except ValueError:
        return 0


def _agrees(kind: str, kinds: set[str] | None) -> bool:
    """True if one of the kinds may be this one; a bare number may measure anything."""
    return bool(kinds) and (not kind or not {kind, ""}.isdisjoint(kinds or ()))


def _cues(fact: Fact, written: FactText) -> set[str]:
    """What the words around a number in a summary say that it is: a sum, a difference."""
    text = written.prepared
    first = max([0, *(each.end for each in written.facts if each.end <= fact.start)])
    last = min([len(text), *(each.start for each in written.facts if each.start >= fact.end)])
    before = text[max(first, fact.start - _CUE_DISTANCE) : fact.start].lower()
    after = text[fact.end : min(last, fact.end + _CUE_DISTANCE)].lower()
    around = _SENTENCE_END.split(before)[-1] + " " + _SENTENCE_END.split(after)[0]
    words = _WORDS.findall(around)
    return {
        cue
        for cue in _CUES
        if not small_words(cue).isdisjoint(words)
        or any(char in around for char in small_words(cue) if char > "\u3000")
    }


def _key(value: float) -> str:
    return f"{value:.9g}"


def _list_lengths(text: str, lexicon: Lexicon) -> Iterator[int]:
    """How many things each enumeration of a text has."""
    bullets = len(_BULLET.findall(text))
    if bullets > 1:
        yield bullets
    for sentence in re.split(r"[.!?]\s|\n\n", text):
        if parts := sentence.count("; "):
            yield parts + 1
    words = "|".join(lexicon.phrases["lists"]) or "and"
    for match in re.finditer(rf"(?<=\s)(?:{words}|&)(?=\s)", text):
        before = text[max(0, match.start() - 300) : match.start()]
        items = re.split(r"[.!?;:\n(]\s", before)[-1].split(",")[1:]
        for longest in _LONGEST_ITEMS:
            count = 2
            for item in reversed(items):
                if item.strip().isdigit():  # "on July 16, 1969, with Armstrong, Collins and"
                    count -= 1
                    break
                if len(item.split()) > longest:
                    break
                count += bool(item.strip())
            yield count
    for match in _ENUMERATED.finditer(text):
        yield match[0].count("、") + 1
