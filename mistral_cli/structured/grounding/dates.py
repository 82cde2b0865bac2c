"""Dates that a text writes in its own way → ISO dates, where there is only one way to read them.

The grammar may then write that date, so a doubtful one is left out. The checks of facts
(`checks/facts/dates.py`) read a date in every way instead, because a doubt must raise no alarm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("january jan", "february feb", "march mar", "april apr", "may", "june jun"),
            *("july jul", "august aug", "september sept sep", "october oct", "november nov"),
            "december dec",
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\b\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_BEFORE, _AFTER = r"(?<![\w.,/])", r"(?!\w|[./-]\d)"
_NAMED = (
    re.compile(
        rf"{_BEFORE}{_DAY}\.?\s+(?:of\s+)?{_MONTH},?\s+(?P<year>\d{{4}}){_AFTER}", re.IGNORECASE
    ),
    re.compile(rf"(?<!\w){_MONTH}\s+{_DAY},?\s+(?P<year>\d{{4}}){_AFTER}", re.IGNORECASE),
)
_NUMERIC = re.compile(
    r"(?<![\w.,/-])(\d{1,4})(?P<mark>[./-])(\d{1,2})(?P=mark)(\d{1,4})" + _AFTER, re.ASCII
)


def written_dates(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the ISO date and the span of each date in `text` that has one meaning.

    A month has its English name, or the numbers allow one order alone: the year comes first, or
    the day is above 12, or the same as the month. `03/05/2024` is left out: it is May in one
    country and March in another.
    """
    for pattern in _NAMED:
        for match in pattern.finditer(text):
            month = _MONTHS[match["month"].lower()]
            yield from _valid(int(match["year"]), month, int(match["day"]), match)
    for match in _NUMERIC.finditer(text):
        first, second, last = match[1], match[3], match[4]
        if len(first) == 4 and len(last) <= 2:
            yield from _valid(int(first), int(second), int(last), match)
        elif len(first) <= 2 and len(last) == 4:
            low, high = sorted((int(first), int(second)))
            if high > 12 or low == high:
                yield from _valid(int(last), low, high, match)


def _valid(
    year: int, month: int, day: int, match: re.Match[str]
) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        yield date(year, month, day).isoformat(), match.span()
    except ValueError:
        return
