"""Finds dates and times of day among the numbers and words of a text.

It yields every way to read them, in many languages. `structured/grounding/dates.py` wants the
opposite, so the two share nothing: English dates that have one meaning, from a text alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from itertools import chain

from mistral_cli.checks.facts.facts import Clock, Day, Fact, Quantity, Reading
from mistral_cli.checks.facts.lexicon import Lexicon, small_words
from mistral_cli.checks.facts.numbers import Number, digit_values, small_fraction
from mistral_cli.checks.facts.tokens import Token

Item = Token | Number

_MERIDIEM = re.compile(r" ?([ap])\.? ?m\b\.?", re.IGNORECASE)
_LONGEST_MONTH = 31
_IDIOMS = ("24/7", "7/7")
_HALF_DAY = 720
_DAY_LENGTH = 1440


class DateFinder:
    """Finds the dates and times of one text; `used` are the items that belong to them."""

    def __init__(self, text: str, items: list[Item], lexicon: Lexicon) -> None:
        self._text = text
        self._items = items
        self._lexicon = lexicon
        self.used: set[int] = set()

    def facts(self) -> Iterator[Fact]:
        """Every date and time. Months come first: they claim the numbers beside them."""
        months, weekdays, lexicon = [], [], self._lexicon
        numeric, clocks = [], []
        for at, item in enumerate(self._items):
            if isinstance(item, Number) or item.kind == "clock":
                clocks.append(at)
            elif item.kind == "word":
                if item.text in lexicon.months:
                    months.append(at)
                elif item.text in lexicon.weekdays:
                    weekdays.append(at)
                elif (
                    item.text in lexicon.phrases["noon"] or item.text in lexicon.phrases["midnight"]
                ):
                    clocks.append(at)
            elif item.kind != "mark":
                numeric.append(at)
        finders = (self._month, self._numeric, self._clock, self._weekday)
        for find, places in zip(finders, (months, numeric, clocks, weekdays), strict=True):
            for at in places:
                if at not in self.used and (fact := find(at, self._items[at])):
                    yield fact

    # Months

    def _month(self, at: int, item: Item) -> Fact | None:
        if not isinstance(item, Token) or item.kind != "word":
            return None
        month = self._lexicon.months.get(item.text)
        if month is None:
            return None
        used = {at}
        days = [*self._days_before(at, used)]
        if not days:
            days = [*self._days_after(at, used)]
        year = self._year(max(used), used)
        if not days and year is None and not self._is_month(at, item):
            return None
        weekday = self._weekday_before(min(used), used)
        self.used |= used
        found = tuple(Day(year, month, day, None) for day in days) or (Day(year, month),)
        found = (found[0]._replace(weekday=weekday), *found[1:])
        return self._fact(used, (found,))

    def _is_month(self, at: int, item: Token) -> bool:
        if item.text in self._lexicon.sure:
            return True
        word = self._word(at - 1)
        return (
            len(item.text) > 2
            and self._lexicon.code == "en"
            and item.text in ("may", "march")
            and self._text[item.start].isupper()
            and word in small_words("before_month")
        )

    def _days_before(self, at: int, used: set[int]) -> Iterator[int]:
        place = self._skip(at - 1, -1, small_words("date_links"), 2)
        item = self._item(place)
        if isinstance(item, Token) and item.kind == "pair" and "-" in item.text:
            first, last = map(int, item.text.split("-"))
            if first < last <= _LONGEST_MONTH:
                used |= set(range(place, at))
                yield from (first, last)  # "12-16 June"
            return
        day = self._day_number(place)
        if day is None or place in self.used:
            return
        days = [day]
        used |= set(range(place, at))
        while len(days) < 4:
            place = self._skip(place - 1, -1, frozenset(("the", "le", "el", "den", ".", "il")), 2)
            if self._weekday_at(place) is not None:
                place = self._skip(place - 1, -1, small_words("date_links"), 2)
            if self._word(place) not in small_words("ranges"):
                break
            before = self._skip(place - 1, -1, frozenset((".", "p")), 2)
            day = self._day_number(before)
            if day is None or before in self.used or day >= days[0]:
                break
            place = before
            used |= set(range(place, at))
            days.insert(0, day)
        yield from days

    def _days_after(self, at: int, used: set[int]) -> Iterator[int]:
        month = self._word(at)  # a sentence may end after the full name of a month
        place = self._skip(at + 1, 1, frozenset((".", "the") if len(month) < 5 else ("the",)), 2)
        day = self._day_number(place)
        if day is None or place in self.used or self._lexicon.code not in ("en", None, "hu"):
            return
        yield day
        used |= set(range(at, place + 1))
        if self._word(place + 1) in small_words("right_ranges"):
            last = self._day_number(place + 2)
            if last is not None and last > day and self._month_at(place + 3) is None:
                used |= {place + 1, place + 2}
                yield last

    def _year(self, at: int, used: set[int]) -> int | None:
        place = self._skip(at + 1, 1, frozenset((",", ".", "de", "del", "of")), 2)
        item = self._item(place)
        if not isinstance(item, Number) or place in self.used or item.word:
            return None
        value = item.values[0]
        if value.denominator == 1 and 1000 <= value < 3000 and item.end - item.start == 4:
            used |= set(range(at, place + 1))
            return int(value)
        return None

    def _weekday_before(self, at: int, used: set[int]) -> int | None:
        place = self._skip(at - 1, -1, small_words("date_links") | {"("}, 2)
        weekday = self._weekday_at(place)
        if weekday is not None:
            used |= set(range(place, at))
        return weekday

    # Dates in digits

    def _numeric(self, at: int, item: Item) -> Fact | None:
        if not isinstance(item, Token) or item.kind not in ("date", "pair"):
            return None
        if item.kind == "pair" and ("." in item.text or item.text in _IDIOMS):
            return None
        parts = [int(part) for part in re.findall(r"\d+", item.text)]
        days = tuple(dict.fromkeys(_numeric_days(item.text, parts)))
        weekday = self._weekday_before(at, used := {at})
        readings: list[Reading] = [(day._replace(weekday=weekday),) for day in days]
        if item.kind == "pair" or not readings:
            readings.append(tuple(Quantity(digit_values(str(part))[0]) for part in parts))
            if fraction := small_fraction(item.text):
                readings.append((Quantity(fraction),))
        if item.text[-1] == ".":
            number = item.text[:-1]
            readings.append((Quantity(digit_values(number)[0]),))
            readings += dotted_readings(number)
        hours = parts[-1] <= 24 and self._lexicon.phrase("hour", self._words(at + 1))
        if item.kind == "pair" and "-" in item.text and (hours or self._before_hour(at)):
            readings.append(tuple(Clock(frozenset((60 * part,))) for part in parts))
        self.used |= used
        fact = self._fact(used, tuple(readings))
        plain = item.kind == "pair" and (item.text[-3] == "-" or len(readings) == 1)
        if not plain:
            return fact
        return Fact("numbers", fact.start, fact.end, fact.readings, counts=False, hour=True)

    # Times

    def _clock(self, at: int, item: Item) -> Fact | None:
        if isinstance(item, Token):
            if item.kind == "clock":
                return self._clock_token(at, item)
            for table, minutes in (("noon", _HALF_DAY), ("midnight", 0)):
                if item.kind == "word" and self._lexicon.phrase(table, [item.text]):
                    self.used.add(at)
                    readings: tuple[Reading, ...] = ((Clock(frozenset((minutes,))),),)
                    return Fact("dates", item.start, item.end, readings, checked=False)
            return None
        return self._half_past(at, item) or self._hour(at, item)

    def _clock_token(self, at: int, item: Token) -> Fact:
        parts = [int(part) for part in re.findall(r"\d+", item.text)]
        self.used.add(at)
        numbers = tuple(Quantity(digit_values(str(part))[0]) for part in parts)
        if parts[0] > 24:
            return Fact("numbers", item.start, item.end, (numbers,))
        clock, end = self._with_half_day(parts[0], parts[1], at, item.end, sure=len(parts) > 2)
        reading: Reading = (clock, *numbers[2:3])
        if len(parts) > 2 and not numbers[2].value:
            reading = (clock,)
        return Fact("dates", item.start, end, (reading,))

    def _hour(self, at: int, item: Number) -> Fact | None:
        value = item.values[0]
        token = self._text[item.start : item.end]
        dotted = re.fullmatch(r"(\d{1,2})\.([0-5]\d)", token)
        if dotted and int(dotted[1]) < 25:
            hour, minute = int(dotted[1]), int(dotted[2])
        elif value.denominator == 1 and 0 <= value <= 24 and not item.ordinal:
            hour, minute = int(value), 0
        elif item.half is not None and 0 < item.half <= 24 and item.half.denominator == 1:
            hour, minute = int(item.half), 30
        else:
            return None
        words = self._words(at + 1)
        count = self._lexicon.phrase("hour", words)
        after = self._text[item.end : item.end + 7]
        if not count and not _MERIDIEM.match(after) and not self._half_day_words(at + 1):
            if item.half is not None and self._before_hour(at):
                minutes = frozenset((hour * 60 + 30, (hour * 60 + 30 + _HALF_DAY) % _DAY_LENGTH))
                self.used.add(at)
                return Fact("dates", item.start, item.end, ((Clock(minutes),), (Quantity(value),)))
            return None
        end = item.end
        if count and self._lexicon.code in ("fr", "es", "pt") and hour and not minute:
            minute, extra = self._minutes_after(at + 1 + count)
            count += extra
        for place in range(at, at + count + 1):
            self.used.add(place)
            end = max(end, self._end(place))
        clock, end = self._with_half_day(hour, minute, at + count, end, sure=bool(count))
        readings: tuple[Reading, ...] = ((clock,),)
        if count:
            hours = value if value.denominator > 1 else hour + Fraction(minute, 60)
            readings += ((Quantity(hours, frozenset("h")),),)
        return Fact("dates", item.start, end, readings, word=item.word)

    def _minutes_after(self, at: int) -> tuple[int, int]:
        """The minutes of "et demie", "et quart", and how many items they take."""
        if self._word(at) in ("et", "y", "e"):
            item = self._item(at + 1)
            if isinstance(item, Number) and item.fraction and item.values[-1] in (0.5, 0.25):
                return int(item.values[-1] * 60), 2
        return 0, 0

    def _before_hour(self, at: int) -> bool:
        """True after "at", "um" and other words that an hour follows."""
        return self._word(self._skip(at - 1, -1, frozenset("."), 1)) in small_words("before_hour")

    def _half_past(self, at: int, item: Number) -> Fact | None:
        word = self._text[item.start : item.end].lower()
        if self._lexicon.phrase("half", [word]):
            return self._relative(at, at + 1, -30)
        if not item.fraction or item.values[-1] not in (0.5, 0.25):
            return None
        link = self._word(at + 1)
        minutes = int(item.values[-1] * 60)
        if self._lexicon.phrase("past", [link]):
            return self._relative(at, at + 2, minutes)
        if self._lexicon.phrase("to", [link]):
            return self._relative(at, at + 2, -minutes)
        return None

    def _relative(self, at: int, place: int, minutes: int) -> Fact | None:
        item = self._item(place)
        if not isinstance(item, Number) or not 1 <= item.values[0] <= 24 or item.ordinal:
            return None
        base = int(item.values[0]) * 60 + minutes
        self.used |= set(range(at, place + 1))
        clock = Clock(frozenset((base % _DAY_LENGTH, (base + _HALF_DAY) % _DAY_LENGTH)))
        start = self._items[at].start
        return Fact("dates", start, item.end, ((clock,),))

    def _with_half_day(
        self, hour: int, minute: int, at: int, end: int, *, sure: bool
    ) -> tuple[Clock, int]:
        """The time, and where it ends, with "pm" or "in the evening" if that follows."""
        base = hour * 60 + minute
        match = _MERIDIEM.match(self._text, end)
        if match:
            later = match[1].lower() == "p"
            end = match.end()
        else:
            found = self._half_day_words(at + 1)
            if not found:
                if sure or hour > 12 or not hour or self._text[self._items[at].start] == "0":
                    return Clock(frozenset((base % _DAY_LENGTH,))), end
                return Clock(frozenset((base, (base + _HALF_DAY) % _DAY_LENGTH))), end
            later, count = found
            end = self._end(at + count)
        if hour <= 12:
            base = base % _HALF_DAY + _HALF_DAY * later
        return Clock(frozenset((base,))), end

    def _half_day_words(self, at: int) -> tuple[bool, int] | None:
        words = self._words(at)
        for table in ("morning", "afternoon"):
            if count := self._lexicon.phrase(table, words):
                return table == "afternoon", count
        return None

    # Weekdays

    def _weekday(self, at: int, item: Item) -> Fact | None:
        weekday = self._weekday_at(at)
        if weekday is None or not isinstance(item, Token):
            return None
        checked = item.text in self._lexicon.sure
        return Fact("dates", item.start, item.end, ((Day(weekday=weekday),),), checked=checked)

    # Items

    def _fact(self, used: set[int], readings: tuple[Reading, ...]) -> Fact:
        start = min(self._items[place].start for place in used)
        return Fact("dates", start, max(self._end(place) for place in used), readings)

    def _item(self, at: int) -> Item | None:
        return self._items[at] if 0 <= at < len(self._items) else None

    def _end(self, at: int) -> int:
        item = self._item(at)
        return item.end if item else len(self._text)

    def _word(self, at: int) -> str:
        item = self._item(at)
        return item.text if isinstance(item, Token) and item.kind in ("word", "mark") else ""

    def _words(self, at: int) -> list[str]:
        words = []
        for place in range(at, at + 5):
            item = self._item(place)
            if isinstance(item, Token) and item.text == "'":
                continue  # "'s avonds"
            if not isinstance(item, Token) or item.kind != "word":
                break
            words.append(item.text)
        return words

    def _skip(self, at: int, step: int, words: frozenset[str], most: int) -> int:
        for _ in range(most):
            if self._word(at) not in words:
                break
            at += step
        return at

    def _day_number(self, at: int) -> int | None:
        item = self._item(at)
        if not isinstance(item, Number) or (item.fraction and not item.ordinal):
            return None
        value = item.values[0]
        return int(value) if value.denominator == 1 and 1 <= value <= _LONGEST_MONTH else None

    def _weekday_at(self, at: int) -> int | None:
        item = self._item(at)
        if isinstance(item, Token) and item.kind == "word":
            return self._lexicon.weekdays.get(item.text)
        return None

    def _month_at(self, at: int) -> int | None:
        item = self._item(at)
        if isinstance(item, Token) and item.kind == "word":
            return self._lexicon.months.get(item.text)
        return None


def _numeric_days(text: str, parts: list[int]) -> Iterator[Day]:
    if len(parts) == 3:
        first, second, third = parts
        if len(re.match(r"\d+", text)[0]) == 4:  # type: ignore[index]
            orders = [(first, second, third)]
        else:
            year = third if third > 99 else third + (2000 if third < 70 else 1900)
            orders = [(year, second, first), (year, first, second)]
        yield from chain.from_iterable(_day(*order) for order in orders)
    elif parts[1] > 99:
        if 1 <= parts[0] <= 12:
            yield Day(parts[1], parts[0])
    else:
        yield from _day(None, parts[1], parts[0])
        if "/" in text or "-" in text:
            yield from _day(None, parts[0], parts[1])


def _day(year: int | None, month: int, day: int) -> Iterator[Day]:
    try:
        date(year or 2000, month, day)
    except ValueError:
        return
    yield Day(year, month, day)


def dotted_readings(text: str) -> Iterator[Reading]:
    """What else "28.01" may be than a number: a day or a time."""
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", text)
    if not match:
        return
    first, second = int(match[1]), int(match[2])
    for day in _day(None, second, first):
        yield (day,)
    if len(match[2]) == 2 and first < 25 and second < 60:
        yield (Clock(frozenset((first * 60 + second,))),)
