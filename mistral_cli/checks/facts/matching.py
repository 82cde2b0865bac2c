"""Compares the facts of two texts by their values."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.checks.facts.counted import Count, CountedThings, count_at
from mistral_cli.checks.facts.derived import DerivedValues
from mistral_cli.checks.facts.facts import Atom, Clock, Day, Fact, Period, Quantity
from mistral_cli.checks.facts.lexicon import small_words
from mistral_cli.checks.facts.numbers import is_rounded
from mistral_cli.checks.facts.units import unit

if TYPE_CHECKING:
    from mistral_cli.checks.facts.reader import FactText


_LEAP_YEAR = 2000
_DAY = 86_400  # seconds
_WEEK = 7 * _DAY
_DAYS_OF_MONTH = (28, 30, Fraction(91, 3), Fraction(365, 12))


class Problem(NamedTuple):
    """The check that reports a fact, why, and where what it reports ends."""

    check: str
    why: str
    end: int


class FactIndex:
    """The values of a text's facts, for finding those of another text among them."""

    def __init__(self, source: FactText) -> None:
        self._source = source
        self._derived = DerivedValues(source)
        self._quantities: dict[Fraction, list[tuple[frozenset[str], Fact]]] = defaultdict(list)
        self._bases: dict[tuple[str, Fraction], Fact] = {}
        self._days: list[Day] = []
        self._clocks: set[int] = set()
        self._bare: set[Fraction] = set()
        self._hours: set[Fraction] = set()
        self._bare_hours: set[Fraction] = set()
        self._years: set[int] = set()
        self._periods: set[Period] = set()
        for fact in source.facts:
            for reading in fact.readings:
                for atom in reading:
                    self._add(atom, fact)
        self._add_compounds()
        self._months = {day.month for day in self._days if day.month}
        self._by_month: dict[int | None, list[Day]] = defaultdict(list)
        for day in dict.fromkeys(self._days):
            self._by_month[day.month].append(day)

    def _add(self, atom: Atom, fact: Fact) -> None:
        if isinstance(atom, Quantity):
            if fact.check == "numbers" or not atom.units:  # "14 Uhr" is also a quantity
                self._quantities[atom.value].append((atom.units, fact))
            if atom.units <= {"year"} and 1000 <= atom.value < 3000:
                self._years.add(int(atom.value))
            if not atom.units:
                self._bare.add(atom.value)
                if fact.hour:
                    self._bare_hours.add(atom.value)
            for base in _bases(atom):
                self._bases.setdefault(base, fact)
        elif isinstance(atom, Day):
            self._days.append(atom)
            if atom.year:
                self._years.add(atom.year)
            for part in (atom.year, atom.day):
                if part:
                    self._quantities[Fraction(part)].append((frozenset(), fact))
        elif isinstance(atom, Period):
            self._periods.add(atom)
        else:
            self._clocks |= atom.minutes
            for minute in atom.minutes:
                self._hours |= {Fraction(minute // 60), Fraction(minute // 60 % 12 or 12)}

    def _add_compounds(self) -> None:
        """Add the sum of "1 minute and 12 seconds" and the like."""
        for first, second in pairwise(self._source.facts):
            gap = self._source.prepared[first.end : second.start]
            left, right = first.readings[-1][-1], second.readings[-1][-1]
            if len(gap) > 5 or not isinstance(left, Quantity) or not isinstance(right, Quantity):
                continue
            for one in left.units:
                for other in right.units:
                    if (
                        unit(one).quantity == unit(other).quantity
                        and unit(one).size > unit(other).size
                    ):
                        total = left.value * unit(one).size + right.value * unit(other).size
                        self._bases.setdefault((unit(one).quantity, total), first)

    @cached_property
    def _counted(self) -> CountedThings:
        return CountedThings(self._source)

    def problem(self, fact: Fact, written: FactText, *, derive: bool) -> Problem | None:
        """None if the text has the fact, else what is wrong.

        With `derive`, what follows from the numbers of the text counts as in it: a sum, a count.
        And a number that the text has for another thing does not.
        """
        count = count_at(written, fact) if derive else None
        counted = False
        if count and count.nouns:
            other = self._counted.contradicting(count)
            if other:
                return Problem("numbers", f"the text has {self._counted_as(other)}", count.end)
            counted = bool(self._counted.of(count.nouns[0]))
        problems = []
        for reading in fact.readings:
            problem = self._reading(reading, fact, derive=derive, counted=counted)
            if problem is None:
                return None
            problems.append(problem)
        if derive and any(
            side != other and day == end
            for side, day in _turns(written, fact)
            for other, end in self._turns
        ):
            return None
        units = next((each for each in problems if each[0] == "units"), None)
        return Problem(*(units or (fact.check, problems[0][1])), fact.end)

    def _counted_as(self, count: Count) -> str:
        return " ".join(self._source.text[count.fact.start : count.end].split())

    def _reading(
        self, reading: tuple[Atom, ...], fact: Fact, *, derive: bool, counted: bool
    ) -> tuple[str, str] | None:
        for atom in reading:
            if isinstance(atom, Day):
                problem = None if self._has_day(atom) else ("dates", "not in the text")
            elif isinstance(atom, Clock):
                problem = None if self._has_clock(atom) else ("dates", "not in the text")
            elif isinstance(atom, Period):
                problem = None if self._has_period(atom) else ("numbers", "not in the text")
            else:
                problem = self._quantity(atom, fact, derive=derive, counted=counted)
            if problem is not None:
                return problem
        return None

    # Dates and times

    def _has_day(self, day: Day) -> bool:
        if day.month is None:
            return day.weekday is None or self._has_weekday(day)
        return any(self._agrees(day, other) for other in self._by_month.get(day.month, ()))

    def _agrees(self, day: Day, other: Day) -> bool:
        if day.day is not None and day.day != other.day and Fraction(day.day) not in self._bare:
            return False
        known = other.year is None and Fraction(day.year or 0) in self._quantities
        if day.year is not None and day.year != other.year and not known:
            return False
        if day.weekday is None or day.weekday == other.weekday:
            return True
        year = day.year or other.year
        if year and day.day and day.month:
            try:
                return date(year, day.month, day.day).isoweekday() == day.weekday
            except ValueError:
                return False
        return other.weekday is None and self._has_weekday(day)

    @cached_property
    def _turns(self) -> set[tuple[str, date]]:
        return {turn for fact in self._source.facts for turn in _turns(self._source, fact)}

    def _has_weekday(self, day: Day) -> bool:
        return any(
            other.weekday == day.weekday
            or (other.year and other.month and other.day and _weekday(other) == day.weekday)
            for other in self._days
        )

    def _has_clock(self, clock: Clock) -> bool:
        if clock.minutes & self._clocks:
            return True
        hours = {Fraction(minute // 60) for minute in clock.minutes if not minute % 60}
        hours |= {hour % 12 or Fraction(12) for hour in hours if len(clock.minutes) > 1}
        return bool(hours & self._bare_hours)

    def _has_period(self, period: Period) -> bool:
        """True if the text has the period, a shorter one in it, or one of its years."""
        years = range(period.first, period.last + 1)
        return not self._years.isdisjoint(years) or any(
            period.first <= each.first and each.last <= period.last for each in self._periods
        )

    # Numbers

    def _quantity(
        self, atom: Quantity, fact: Fact, *, derive: bool, counted: bool
    ) -> tuple[str, str] | None:
        same = self._quantities.get(atom.value, [])
        if atom.units and atom.value < 1000:  # the 8 of a date is no 8 weeks
            same = [each for each in same if each[1].check == "numbers"]
        if any(base in self._bases for base in (*_bases(atom), *_durations(atom))):
            return None
        if same:
            if not atom.units or any(not units or units & atom.units for units, _ in same):
                return None
            others = [other for units, other in same if units]
            return "units", f"the text has {self._snippet(others[0])}"
        if fact.hour and not atom.units and atom.value in self._hours:
            return None
        if fact.rough and self._is_rounded(atom):
            return None
        if derive and fact.counts and self._derived.has(atom, shares_only=counted):
            return None
        return "numbers", self._instead(atom)

    def _snippet(self, fact: Fact) -> str:
        return " ".join(self._source.text[fact.start : fact.end].split())

    def _instead(self, atom: Quantity) -> str:
        """What the text has with the same unit, if that is one thing."""
        if atom.units:
            facts = [
                fact
                for entries in self._quantities.values()
                for units, fact in entries
                if units & atom.units
            ]
            if len({fact.start for fact in facts}) == 1:
                return f"the text has {self._snippet(facts[0])}"
        return "not in the text"

    def _is_rounded(self, atom: Quantity) -> bool:
        if atom.units == {"percent"} and any(
            quantity == "ratio" and is_rounded(atom.value, base * 100)
            for quantity, base in self._bases
        ):
            return True
        return any(
            is_rounded(atom.value, value) and any(_agree(atom.units, units) for units, _ in entries)
            for value, entries in self._quantities.items()
        )


def _agree(units: frozenset[str], others: frozenset[str]) -> bool:
    return not units or not others or bool(units & others)


def _turns(text: FactText, fact: Fact) -> Iterator[tuple[str, date]]:
    """The last day before a change, and the words that tell it.

    It is 30 September for both "until 30 September" and "from 1 October".
    """
    day, *more = fact.readings[0]
    if not isinstance(day, Day) or not day.month or not day.day or more:
        return
    before = text.prepared[max(0, fact.start - 30) : fact.start].lower()
    words = re.findall(r"[^\W\d_]+", before)[-3:]
    for side, shift in (("last_days", 0), ("first_days", 1)):
        if not small_words(side).isdisjoint(words):
            with suppress(ValueError):
                last = date(day.year or _LEAP_YEAR, day.month, day.day) - timedelta(days=shift)
                yield side, last.replace(year=_LEAP_YEAR)


def _weekday(day: Day) -> int | None:
    try:
        return date(day.year or 0, day.month or 0, day.day or 0).isoweekday()
    except ValueError:
        return None


def _bases(atom: Quantity) -> Iterator[tuple[str, Fraction]]:
    """What a quantity is in the first unit of its kind: 90 min and 1.5 h are the same."""
    for name in atom.units:
        found = unit(name)
        yield found.quantity, atom.value * found.size
    if not atom.units and 0 < atom.value <= 10:
        yield "ratio", atom.value


def _durations(atom: Quantity) -> Iterator[tuple[str, Fraction]]:
    """How long months may be in days, and days in months: 12 weeks are three months, or 90 days."""
    for quantity, size in _bases(atom):
        for days in _DAYS_OF_MONTH:
            if quantity == "months":
                yield "time", size * days * _DAY
            elif quantity == "time" and size >= 4 * _WEEK:
                yield "months", size / days / _DAY
