"""Finds the dates, periods and times of one text in another."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from mistral_cli.checks.facts.counted import count_at
from mistral_cli.checks.facts.facts import Clock, Day, Fact, Period, Quantity
from mistral_cli.checks.facts.lexicon import small_words

if TYPE_CHECKING:
    from mistral_cli.checks.facts.reader import FactText

_WORDS = re.compile(r"[^\W\d_]+")
_RANGE = 12  # characters between the ends of "from 1 November to 31 January"
_LEAP_YEAR = 2000
_HALF_DAY = 12  # hours
_LONGEST_MONTH = 31


class DayIndex:
    """The dates, periods and times of a text."""

    def __init__(self, source: FactText) -> None:
        self._source = source
        self._days: dict[Day, None] = {}  # in the text's order
        self._periods: set[Period] = set()
        self._clocks: set[int] = set()
        self._years: set[int] = set()
        self._bare: set[int] = set()  # numbers that may be days
        self._hours: set[int] = set()  # numbers that may be hours
        for fact in source.facts:
            for reading in fact.readings:
                for atom in reading:
                    if isinstance(atom, Quantity):
                        self._add_number(atom, fact)
                    elif isinstance(atom, Day):
                        self._days[atom] = None
                        if atom.year:
                            self._years.add(atom.year)
                    elif isinstance(atom, Period):
                        self._periods.add(atom)
                    else:
                        self._clocks |= atom.minutes
        self._days |= dict.fromkeys(_months_between(source))
        self._by_month: dict[int | None, list[Day]] = defaultdict(list)
        for day in self._days:
            self._by_month[day.month].append(day)

    def _add_number(self, atom: Quantity, fact: Fact) -> None:
        if atom.value.denominator != 1 or atom.value >= 10_000:
            return
        value = int(atom.value)
        if atom.units <= {"year"} and 1000 <= value < 3000:
            self._years.add(value)
        if atom.units or value > _LONGEST_MONTH or not fact.checked:
            return
        if fact.hour:
            self._hours |= {value, value % _HALF_DAY or _HALF_DAY}
        count = count_at(self._source, fact)
        if fact.hour or count is None or not count.nouns:
            self._bare.add(value)

    def has_day(self, day: Day) -> bool:
        """True if the text has a date, or one that it is a part of."""
        if day.month is None:
            return day.weekday is None or self._has_weekday(day)
        days = self._by_month.get(day.month, ())
        return any(self._agrees(day, other) for other in days) or self._is_beside(day)

    def _is_beside(self, day: Day) -> bool:
        """True for the day before or after the first date, in a text with such a word."""
        known = next((each for each in self._days if each.day and each.month), None)
        if not known or not day.day or not day.month or not self._steps:
            return False
        others: list[date] = []
        with suppress(ValueError, OverflowError):
            written = date(day.year or _LEAP_YEAR, day.month, day.day)
            others = [written + timedelta(days=step) for step in self._steps]
        return any((each.month, each.day) == (known.month, known.day) for each in others)

    @cached_property
    def _steps(self) -> list[int]:
        words = {*_WORDS.findall(self._source.prepared.lower())}
        tables = (("yesterday", 1), ("tomorrow", -1))
        return [step for table, step in tables if not words.isdisjoint(small_words(table))]

    def _agrees(self, day: Day, other: Day) -> bool:
        if day.day is not None and day.day != other.day and day.day not in self._bare:
            return False
        known = other.year is None and day.year in self._years
        if day.year is not None and day.year != other.year and not known:
            return False
        if day.weekday is None or day.weekday == other.weekday:
            return True
        year = day.year or other.year
        if year and day.day and day.month:
            return _weekday(day._replace(year=year)) == day.weekday
        return other.weekday is None and self._has_weekday(day)

    def _has_weekday(self, day: Day) -> bool:
        return any(
            other.weekday == day.weekday
            or (other.year and other.month and other.day and _weekday(other) == day.weekday)
            for other in self._days
        )

    def has_period(self, period: Period) -> bool:
        """True if the text has the period, a shorter one in it, or one of its years."""
        years = range(period.first, period.last + 1)
        return not self._years.isdisjoint(years) or any(
            period.first <= each.first and each.last <= period.last for each in self._periods
        )

    def has_clock(self, clock: Clock) -> bool:
        """True if the text has a time, or a number that may be this hour: "from 9 to 5"."""
        if clock.minutes & self._clocks:
            return True
        hours = {minute // 60 for minute in clock.minutes if not minute % 60}
        hours |= {hour % _HALF_DAY or _HALF_DAY for hour in hours}
        return bool(hours & self._hours)

    def has_turn(self, fact: Fact, written: FactText) -> bool:
        """True for "from 1 October" if the text says "until 30 September", and the other way."""
        return any(
            side != other and day == end
            for side, day in _turns(written, fact)
            for other, end in self._turns
        )

    @cached_property
    def _turns(self) -> set[tuple[str, date]]:
        return {turn for fact in self._source.facts for turn in _turns(self._source, fact)}


def _turns(text: FactText, fact: Fact) -> Iterator[tuple[str, date]]:
    """The last day before a change, and the table of the word that tells it.

    It is 30 September for both "until 30 September" and "from 1 October".
    """
    day, *more = fact.readings[0]
    if not isinstance(day, Day) or not day.month or not day.day or more:
        return
    before = text.prepared[max(0, fact.start - 30) : fact.start].lower()
    words = _WORDS.findall(before)[-3:]
    for side, shift in (("last_days", 0), ("first_days", 1)):
        if not small_words(side).isdisjoint(words):
            with suppress(ValueError, OverflowError):
                last = date(day.year or _LEAP_YEAR, day.month, day.day) - timedelta(days=shift)
                yield side, last.replace(year=_LEAP_YEAR)


def _months_between(text: FactText) -> Iterator[Day]:
    """The months inside a range such as "from 1 November to 31 January"."""
    for one, other in pairwise(text.facts):
        first, last = one.readings[0][-1], other.readings[0][0]
        if isinstance(first, Day) and isinstance(last, Day) and first.month and last.month:
            between = text.prepared[one.end : other.start]
            if len(between) < _RANGE and not small_words("ranges").isdisjoint(between.split()):
                for step in range(1, (last.month - first.month) % 12):
                    yield Day(month=(first.month + step - 1) % 12 + 1)


def _weekday(day: Day) -> int | None:
    try:
        return date(day.year or 0, day.month or 0, day.day or 0).isoweekday()
    except ValueError:
        return None
