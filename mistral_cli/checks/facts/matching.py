"""Compares the facts of two texts by their values."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from mistral_cli.checks.facts.derived import DerivedValues
from mistral_cli.checks.facts.facts import Atom, Clock, Day, Fact, Quantity
from mistral_cli.checks.facts.numbers import is_rounded
from mistral_cli.checks.facts.units import unit

if TYPE_CHECKING:
    from mistral_cli.checks.facts.reader import FactText


_NEXT_WORD = re.compile(r"[ -]([^\W\d_]{3,})")


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
        self._counted: dict[str, Fact] = {}
        for fact in source.facts:
            for reading in fact.readings:
                for atom in reading:
                    self._add(atom, fact)
            if word := _counted_thing(source.prepared, fact):
                self._counted.setdefault(word, fact)
        self._add_compounds()
        self._months = {day.month for day in self._days if day.month}
        self._by_month: dict[int | None, list[Day]] = defaultdict(list)
        for day in dict.fromkeys(self._days):
            self._by_month[day.month].append(day)

    def _add(self, atom: Atom, fact: Fact) -> None:
        if isinstance(atom, Quantity):
            if fact.check == "numbers" or not atom.units:  # "14 Uhr" is also a quantity
                self._quantities[atom.value].append((atom.units, fact))
            if not atom.units:
                self._bare.add(atom.value)
                if fact.hour:
                    self._bare_hours.add(atom.value)
            for base in _bases(atom):
                self._bases.setdefault(base, fact)
        elif isinstance(atom, Day):
            self._days.append(atom)
            for part in (atom.year, atom.day):
                if part:
                    self._quantities[Fraction(part)].append((frozenset(), fact))
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

    def problem(self, fact: Fact, written: FactText, *, derive: bool) -> tuple[str, str] | None:
        """None if the text has the fact, else the check that reports it, and why.

        With `derive`, what follows from the numbers of the text counts as in it: a sum, a count.
        """
        derive = derive and _counted_thing(written.prepared, fact) not in self._counted
        problems = []
        for reading in fact.readings:
            problem = self._reading(reading, fact, derive=derive)
            if problem is None:
                return None
            problems.append(problem)
        return next((each for each in problems if each[0] == "units"), (fact.check, problems[0][1]))

    def _reading(
        self, reading: tuple[Atom, ...], fact: Fact, *, derive: bool
    ) -> tuple[str, str] | None:
        for atom in reading:
            if isinstance(atom, Day):
                problem = None if self._has_day(atom) else ("dates", "not in the text")
            elif isinstance(atom, Clock):
                problem = None if self._has_clock(atom) else ("dates", "not in the text")
            else:
                problem = self._quantity(atom, fact, derive=derive)
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

    # Numbers

    def _quantity(self, atom: Quantity, fact: Fact, *, derive: bool) -> tuple[str, str] | None:
        same = self._quantities.get(atom.value, [])
        if atom.units and atom.value < 1000:  # the 8 of a date is no 8 weeks
            same = [each for each in same if each[1].check == "numbers"]
        if any(base in self._bases for base in _bases(atom)):
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
        if derive and fact.counts and self._derived.has(atom):
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


def _counted_thing(text: str, fact: Fact) -> str | None:
    """The beginning of the word after a count: "lapto" for "two laptops"."""
    if fact.check != "numbers" or not fact.counts:
        return None
    match = _NEXT_WORD.match(text, fact.end)
    return match[1][:5].lower() if match and len(match[1]) > 3 else None


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
