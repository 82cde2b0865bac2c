"""What a summary may say that its text does not: sums, shares, counts and spans of what it says."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from mistral_cli.checks.facts.facts import Day, Fact, Quantity
from mistral_cli.checks.facts.lexicon import small_words
from mistral_cli.checks.facts.numbers import is_rounded

if TYPE_CHECKING:
    from mistral_cli.checks.facts.lexicon import Lexicon
    from mistral_cli.checks.facts.reader import FactText

_NEAR = 160
"""Characters within which numbers may be added up: about a long sentence."""

_ADDED = 5  # numbers that may be added up
_PORTION = 60  # characters between a part and its whole
_SHARE_ROUNDED = 0.02  # two thirds are 65 %
_SMALL_COUNT = 12
_MANY_NUMBERS = 200
_ROUND = 100
"""Some of many numbers give almost any small one: there only larger ones are derived."""

_SPANS = ("year", "month", "d")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s", re.MULTILINE)
_ENUMERATED = re.compile(r"[^\s,、]{1,12}(?:、[^\s,、]{1,12}){1,11}")

Units = frozenset[str]


class DerivedValues:
    """The values that follow from the facts of a text."""

    def __init__(self, text: FactText) -> None:
        self._text = text
        self._plain: list[tuple[int, float, Units]] = []
        self._dated: list[tuple[int, Day]] = []
        for fact in text.facts:
            for atom in (atom for reading in fact.readings for atom in reading):
                if isinstance(atom, Day):
                    self._dated.append((fact.start, atom))
                elif isinstance(atom, Quantity):
                    if fact.counts:
                        self._plain.append((fact.start, _float(atom.value), atom.units))
                    elif not atom.units and not fact.word and 1000 <= atom.value < 3000:
                        self._dated.append((fact.start, Day(year=int(atom.value))))

    def has(self, atom: Quantity, *, shares_only: bool = False) -> bool:
        """True if a quantity follows from the text; with `shares_only`, as a share of another."""
        if shares_only:
            return self._is_share(atom)
        derived = (self._is_count, self._is_span, self._is_portion, self._is_result)
        return any(follows(atom) for follows in derived)

    def _is_count(self, atom: Quantity) -> bool:
        """True if a small number may count what the text lists."""
        if atom.units or atom.value.denominator != 1 or not 2 <= atom.value <= _SMALL_COUNT:
            return False
        return int(atom.value) in self._list_lengths

    @cached_property
    def _list_lengths(self) -> set[int]:
        return set(_list_lengths(self._text.prepared, self._text.lexicon))

    def _is_span(self, atom: Quantity) -> bool:
        """True if so many days, months or years lie between two dates of the text."""
        if len(atom.units) != 1 or atom.value.denominator != 1:
            return False
        (name,) = atom.units
        return name in _SPANS and int(atom.value) in self._spans[name]

    @cached_property
    def _spans(self) -> dict[str, set[int]]:
        """The differences between dates that follow each other closely; days with both ends too."""
        spans: dict[str, set[int]] = {name: set() for name in _SPANS}
        for at, (start, day) in enumerate(self._dated):
            for other_start, other in self._dated[at + 1 : at + _ADDED]:
                if other_start > start + _NEAR * 4:
                    break
                if day.weekday and other.weekday:
                    spans["d"].add((other.weekday - day.weekday) % 7 + 1)
                if day.year and other.year:
                    spans["year"].add(abs(other.year - day.year))
                if day.month and other.month:
                    spans["month"].add((other.month - day.month) % 12)
                if day.day and other.day and day.month == other.month:
                    between = abs(other.day - day.day)
                    spans["d"] |= {between, between + 1}
        return spans

    def _is_portion(self, atom: Quantity) -> bool:
        """True if a share, perhaps rounded, is that of a part in its whole: "1,300 of 2,000"."""
        if atom.units == {"percent"}:
            exact = {100 * share for share in self._portions}
            return atom.value in exact or any(is_rounded(atom.value, each) for each in exact)
        return not atom.units and any(
            abs(atom.value - share) < _SHARE_ROUNDED for share in self._portions
        )

    @cached_property
    def _portions(self) -> set[Fraction]:
        """The share of each number in the one beside it that "of" names as the whole."""
        portions = set()
        for one, other in pairwise(fact for fact in self._text.facts if fact.check == "numbers"):
            first, second = one.readings[0][0], other.readings[0][0]
            if (
                isinstance(first, Quantity)
                and isinstance(second, Quantity)
                and other.start - one.end < _PORTION
            ):
                if second.value > first.value and self._is_whole(other):
                    portions.add(first.value / second.value)
                elif first.value > second.value and self._is_whole(one):
                    portions.add(second.value / first.value)
        return portions

    def _is_whole(self, fact: Fact) -> bool:
        """True for a number after "of", "out of the" and the like."""
        before = self._text.prepared[max(0, fact.start - 16) : fact.start].lower()
        words = re.findall(r"[^\W\d_]+", before)[-2:]
        after = self._text.prepared[fact.end : fact.end + 8]
        return not small_words("parts_of").isdisjoint(words) or "うち" in after or "中" in after

    def _is_result(self, atom: Quantity) -> bool:
        """True if numbers that stand near each other in the text give this one."""
        if len(self._plain) > _MANY_NUMBERS and atom.value < _ROUND:
            return False
        wanted = _key(_float(atom.value))
        for units in self._sums.get(wanted, ()):
            if not atom.units or units & atom.units:
                return True
        for units in self._differences.get(wanted, ()):
            small = not units and atom.value <= _SMALL_COUNT
            if not small and (not atom.units or units & atom.units):
                return True
        return self._is_share(atom)

    def _is_share(self, atom: Quantity) -> bool:
        shares = self._shares.get(_key(_float(atom.value)), ())
        return any(not units or not atom.units or units & atom.units for units in shares)

    def _neighbors(self) -> Iterator[tuple[float, Units, float, Units, float]]:
        """Two numbers that stand near each other, and the sum from the first to the second."""
        for at, (start, value, units) in enumerate(self._plain):
            total = value
            for other_start, other, other_units in self._plain[at + 1 : at + _ADDED]:
                if other_start > start + _NEAR:
                    break
                if units == other_units:
                    total += other
                yield value, units, other, other_units, total

    @cached_property
    def _sums(self) -> dict[str, set[Units]]:
        sums = defaultdict(set)
        for value, units, other, other_units, total in self._neighbors():
            if units == other_units:
                sums[_key(total)].add(units)
                sums[_key(value + other)].add(units)
        return sums

    @cached_property
    def _differences(self) -> dict[str, set[Units]]:
        differences = defaultdict(set)
        for value, units, other, other_units, _ in self._neighbors():
            if units == other_units:
                differences[_key(abs(value - other))].add(units)
            elif not units or not other_units:  # "from 3 kg to 5"
                differences[_key(abs(value - other))].add(units | other_units)
        return differences

    @cached_property
    def _shares(self) -> dict[str, set[Units]]:
        """Shares, and doubles: the units are those of the whole."""
        shares = defaultdict(set)
        for value, units, other, other_units, _ in self._neighbors():
            for ratio, ratio_units, whole, whole_units in (
                (value, units, other, other_units),
                (other, other_units, value, units),
            ):
                part = ratio / 100 if ratio_units == {"percent"} else ratio
                plain = not ratio_units or ratio_units == {"percent"}
                if plain and (0 < part < 1 or part == 2):
                    shares[_key(part * whole)].add(whole_units)
        return shares


def _key(value: float) -> str:
    return f"{value:.9g}"


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return 0.0


def _list_lengths(text: str, lexicon: Lexicon) -> Iterator[int]:
    """How many things each enumeration of a text has."""
    bullets = len(_BULLET.findall(text))
    if bullets > 1:
        yield bullets
    words = "|".join(lexicon.phrases["lists"]) or "and"
    for match in re.finditer(rf"(?<=\s)(?:{words}|&)(?=\s)", text):
        before = text[max(0, match.start() - 200) : match.start()]
        sentence = re.split(r"[.!?;:\n(]\s", before)[-1]
        count = 2
        for item in reversed(sentence.split(",")[1:]):
            if len(item.split()) > 4:
                break
            count += bool(item.strip())
        yield count
    for match in _ENUMERATED.finditer(text):
        yield match[0].count("、") + 1
