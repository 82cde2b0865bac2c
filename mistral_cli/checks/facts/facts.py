"""The facts that a text states: quantities, days, times of day, each with every way to read it."""

from __future__ import annotations

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


Atom = Quantity | Day | Clock
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
