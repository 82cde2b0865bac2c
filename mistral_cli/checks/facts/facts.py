"""The facts of a text: quantities, days, periods, times of day, each with every way to read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple


class Quantity(NamedTuple):
    """A number, and the units it may have: none if no unit was recognized beside it."""

    value: Fraction
    units: frozenset[str] = frozenset()


class Day(NamedTuple):
    """A date, or the parts of it that a text names. Weekdays count from 1, Monday."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None


class Clock(NamedTuple):
    """A time of day in minutes: two of them if a text does not say which half of the day."""

    minutes: frozenset[int]


class Period(NamedTuple):
    """A decade or a century: its first and its last year."""

    first: int
    last: int


def century(number: int) -> Period:
    """The 19th is 1800 to 1900: texts begin it in either year."""
    return Period(100 * number - 100, 100 * number)


def decades(number: int) -> Iterator[Period]:
    """What "the 1930s", "the 1800s" or "the 30s" may be."""
    if number < 100:
        yield from decades(1900 + number)
        if number < 30:
            yield from decades(2000 + number)
    elif number % 100 == 0:
        yield Period(number, number + 100)
        yield Period(number, number + 9)
    else:
        yield Period(number, number + 9)


Atom = Quantity | Day | Clock | Period
Reading = tuple[Atom, ...]


@dataclass(frozen=True)
class Fact:
    """A place in a text that states a number, a date or a time.

    `readings` are the ways to understand it: "14.000" is 14000 or 14. `check` names the check that
    reports it. A fact with `checked` false only serves to find others: "one" is too often no
    number. `rough` is true after "about" and the like, `word` for numbers in words, `counts` for
    numbers that may be added up, `hour` after words such as "from", where 9 may be 9:00.
    """

    check: str
    start: int
    end: int
    readings: tuple[Reading, ...]
    checked: bool = True
    rough: bool = False
    word: bool = False
    counts: bool = True
    hour: bool = False
