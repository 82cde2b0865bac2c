"""Compares the facts of two texts by their values."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.checks.facts.counted import Count, CountedThings, count_at
from mistral_cli.checks.facts.day_index import DayIndex
from mistral_cli.checks.facts.derived import DerivedValues
from mistral_cli.checks.facts.facts import Atom, Clock, Day, Fact, Period, Quantity, Reading
from mistral_cli.checks.facts.numbers import is_rounded, nearest_float
from mistral_cli.checks.facts.units import measures, unit

if TYPE_CHECKING:
    from mistral_cli.checks.facts.reader import FactText

NOT_IN_TEXT = "not in the text"
_DAY = 86_400  # seconds
_DAYS_OF_MONTH = (28, 30, Fraction(91, 3), Fraction(365, 12))
_BORROWED = 60
"""Characters after an amount in which a number may have its unit: "21 days, games for seven"."""

_SENTENCE_END = re.compile(r"[.!?;]\s|[\u3002\uff01\uff1f]")


class Mismatch(NamedTuple):
    """The check that reports a fact, why, and where what it reports ends."""

    check: str
    why: str
    end: int


class _Claim(NamedTuple):
    """A fact of an answer. `derived` is true if it may follow from others, `counted` if the text
    counts the same thing."""

    fact: Fact
    written: FactText
    derived: bool
    counted: bool


class FactIndex:
    """The values of a text's facts, for finding those of another text among them."""

    def __init__(self, source: FactText) -> None:
        self._source = source
        self._derived = DerivedValues(source)
        self._days = DayIndex(source)
        self._quantities: dict[Fraction, list[tuple[frozenset[str], Fact]]] = defaultdict(list)
        self._bases: set[tuple[str, Fraction]] = set()
        self._by_unit: dict[str, dict[int, Fact]] = defaultdict(dict)
        self._clock_hours: set[Fraction] = set()
        for fact in source.facts:
            for reading in fact.readings:
                for atom in reading:
                    self._add(atom, fact)
        self._bases |= set(_compounds(source))

    def _add(self, atom: Atom, fact: Fact) -> None:
        if isinstance(atom, Quantity):
            if fact.check == "numbers" or not atom.units:  # "14 Uhr" is also a quantity
                self._quantities[atom.value].append((atom.units, fact))
                for name in atom.units:
                    self._by_unit[name][fact.start] = fact
            self._bases |= set(_bases(atom))
        elif isinstance(atom, Day):
            for part in (atom.year, atom.day):
                if part:
                    self._quantities[Fraction(part)].append((frozenset(), fact))
        elif isinstance(atom, Clock):
            for minute in atom.minutes:
                self._clock_hours |= {Fraction(minute // 60), Fraction(minute // 60 % 12 or 12)}

    @cached_property
    def _counted(self) -> CountedThings:
        return CountedThings(self._source)

    def problem(self, fact: Fact, written: FactText, *, derive: bool) -> Mismatch | None:
        """None if the text has the fact, else what is wrong.

        With `derive`, what follows from the numbers of the text counts as in it: a sum, a count.
        And a number that the text has for another thing does not.
        """
        count = count_at(written, fact) if derive else None
        counted = False
        if count and count.nouns:
            other = self._counted.contradicting(count)
            if other:
                return Mismatch("numbers", f"the text has {self._counted_as(other)}", count.end)
            counted = self._counted.has(count)
        claim = _Claim(fact, written, derive, counted)
        readings = [*fact.readings]
        if derive and not (count and count.nouns):
            readings += _with_borrowed_unit(fact, written)
        problems = []
        for reading in readings:
            problem = self._reading(reading, claim)
            if problem is None:
                return None
            problems.append(problem)
        if derive and self._days.has_turn(fact, written):
            return None
        units_problem = next((each for each in problems if each[0] == "units"), None)
        return Mismatch(*(units_problem or (fact.check, problems[0][1])), fact.end)

    def _counted_as(self, count: Count) -> str:
        return " ".join(self._source.text[count.fact.start : count.end].split())

    def _reading(self, reading: tuple[Atom, ...], claim: _Claim) -> tuple[str, str] | None:
        for atom in reading:
            if isinstance(atom, Quantity):
                problem = self._quantity(atom, claim)
            elif self._has_date(atom):
                problem = None
            else:
                problem = (claim.fact.check, NOT_IN_TEXT)
            if problem is not None:
                return problem
        return None

    def _has_date(self, atom: Day | Clock | Period) -> bool:
        if isinstance(atom, Day):
            return self._days.has_day(atom)
        if isinstance(atom, Clock):
            return self._days.has_clock(atom)
        return self._days.has_period(atom)

    def _quantity(self, atom: Quantity, claim: _Claim) -> tuple[str, str] | None:
        fact = claim.fact
        if not self._bases.isdisjoint((*_bases(atom), *_durations(atom))):
            return None
        same = self._quantities.get(atom.value, [])
        if atom.units and atom.value < 1000:  # the 8 of a date is no 8 weeks
            same = [each for each in same if each[1].check == "numbers"]
        if same:
            others = [other for units, other in same if units]
            if not atom.units or not others or any(self._may_have(atom, *each) for each in same):
                return None
            return "units", f"the text has {self._snippet(others[0])}"
        if fact.hour and not atom.units and atom.value in self._clock_hours:
            return None
        if fact.rough and self._is_rounded(atom):
            return None
        if (
            claim.derived
            and fact.counts
            and self._derived.has(atom, fact, claim.written, counted=claim.counted)
        ):
            return None
        return "numbers", self._instead(atom)

    def _may_have(self, atom: Quantity, units: frozenset[str], other: Fact) -> bool:
        """True if a number of the text has the unit, or may have it: it counts no other thing."""
        if units:
            return bool(units & atom.units)
        count = count_at(self._source, other)
        return count is None or not count.nouns

    def _snippet(self, fact: Fact) -> str:
        return " ".join(self._source.text[fact.start : fact.end].split())

    def _instead(self, atom: Quantity) -> str:
        """What the text has with the same unit, if that is one thing."""
        facts = {start: fact for name in atom.units for start, fact in self._by_unit[name].items()}
        if len(facts) == 1:
            return f"the text has {self._snippet(*facts.values())}"
        return NOT_IN_TEXT

    def _is_rounded(self, atom: Quantity) -> bool:
        """True if a number of the text, in this unit or in none, gives this one if rounded."""
        for kind, value in measures(atom):
            size = value / atom.value if atom.value else Fraction(1)
            exact = (each / size for each in _around(self._sizes.get(kind, ()), value))
            if any(is_rounded(atom.value, each) for each in exact):
                return True
        others = self._sizes["bare" if atom.units else "any"]
        return any(is_rounded(atom.value, each) for each in _around(others, atom.value))

    @cached_property
    def _sizes(self) -> dict[str, list[Fraction]]:
        """The values of each kind in ascending order, those without a unit, and all as written."""
        sizes: dict[str, set[Fraction]] = {"bare": set(), "any": set(self._quantities)}
        for kind, value in self._bases:
            sizes.setdefault(kind, set()).add(value)
        for value, entries in self._quantities.items():
            if any(not units for units, _ in entries):
                sizes["bare"].add(value)
        return {kind: sorted(values, key=nearest_float) for kind, values in sizes.items()}


def _around(values: Sequence[Fraction], value: Fraction) -> Sequence[Fraction]:
    """Those of sorted values that differ from a value by about a tenth at most."""
    return values[
        bisect_left(values, value * Fraction(9, 10)) : bisect_right(values, value * Fraction(9, 8))
    ]


def _compounds(source: FactText) -> Iterator[tuple[str, Fraction]]:
    """The sum of "1 minute and 12 seconds" and the like."""
    for first, second in pairwise(source.facts):
        left, right = first.readings[-1][-1], second.readings[-1][-1]
        if second.start - first.end > 5:
            continue
        if not isinstance(left, Quantity) or not isinstance(right, Quantity):
            continue
        for one in map(unit, left.units):
            for other in map(unit, right.units):
                if one.quantity == other.quantity and one.size > other.size:
                    yield one.quantity, left.value * one.size + right.value * other.size


def _with_borrowed_unit(fact: Fact, written: FactText) -> Iterator[Reading]:
    """A number without a unit, with that of the amount before it in the same sentence."""
    number = fact.readings[0][0]
    if not isinstance(number, Quantity) or number.units:
        return
    before = [
        other
        for other in written.facts
        if other.end <= fact.start < other.end + _BORROWED
        and not _SENTENCE_END.search(written.prepared, other.end, fact.start)
    ]
    atom = before[-1].readings[0][0] if before else None
    if isinstance(atom, Quantity) and atom.units:
        yield (number._replace(units=atom.units),)


def _bases(atom: Quantity) -> Iterator[tuple[str, Fraction]]:
    """What a quantity is in the first unit of its kind: 90 min and 1.5 h are the same."""
    if atom.units:
        yield from measures(atom)
    elif 0 < atom.value <= 10:
        yield "ratio", atom.value


def _durations(atom: Quantity) -> Iterator[tuple[str, Fraction]]:
    """How long months may be in days, and days in months: 12 weeks are three months, or 90 days."""
    for quantity, size in _bases(atom):
        for days in _DAYS_OF_MONTH:
            if quantity == "months":
                yield "time", size * days * _DAY
            elif quantity == "time" and size >= 28 * _DAY:
                yield "months", size / days / _DAY
