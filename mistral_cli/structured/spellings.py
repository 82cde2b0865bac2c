"""The numbers, codes and addresses of a text, in every spelling that says the same.

A number may change its separators, a date its order, a time its clock, and a code the case of its
letters. What each of them says stays: the digits, in their order, are those of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import product

# Scripts that put no spaces between words, and Hangul, whose particles follow a number without one.
# Without their decimal digits: these are numbers as any others.
UNSPACED = (
    "\u0e00-\u0e4f\u0e5a-\u0ecf\u0eda-\u0f1f\u0f2a-\u0fff\u1000-\u103f\u104a-\u108f\u109a-\u109f"
    "\u1100-\u11ff\u1780-\u17df\u17ea-\u17ff"
    "\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
CONNECTORS = "./:,'\u2019\u00b7\u2010\u2011-"
"""Marks that join what stands on both sides of them to one thing: 14:30, INV-2024/17, 40,000."""

_WORD = rf"[^\W{UNSPACED}]"
_COMPOUND = re.compile(rf"{_WORD}+(?:[{CONNECTORS}]+{_WORD}+)*")
SPACES = " \u00a0\u202f"
_SPACED_NUMBER = re.compile(
    rf"(?<![\w{CONNECTORS}])\d{{1,3}}(?:[{SPACES}]\d{{3}})+(?:[.,]\d+)?(?![.,]?\d|[^\W{UNSPACED}])"
)
_ADDRESS = re.compile(
    r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?P<url>(?:https?://|ftp://|www\.)\w[^\s<>|\"\u201c\u201d`{}\\^]+)"
    r"|(?<![\w@.-])(?P<host>[\w-]+(?:\.[\w-]+)*\.[a-z]{2,})(?P<path>/[^\s<>|\"`{}\\^]*)?(?![\w.@]\w)",
    re.IGNORECASE,
)
_AFTER_ADDRESS = ".,;:!?'\u2019)]*_"

_GROUPED = re.compile(
    r"(?P<whole>\d{1,3}(?P<mark>[.,'\u2019 \u00a0\u202f])\d{3}(?:(?P=mark)\d{3})*"
    r"|\d{1,2}(?:,\d\d)+,\d{3})(?:(?!(?P=mark))[.,](?P<decimals>\d+))?"
)
_PLAIN = re.compile(r"(?P<whole>\d+)(?:[.,](?P<decimals>\d+))?")
_GROUP_MARKS = (",", ".", "'", "\u2019", " ", "\u00a0", "\u202f", "")
_DECIMAL_MARKS = (".", ",")

_RANGE = re.compile(r"(\d+(?:[.,]\d+)?)[-\u2010\u2011](\d+(?:[.,]\d+)?)")
_LIST = re.compile(r"\d+(?:,\d+)+")
_WITH_WORD = re.compile(r"(\d[\d.,]*)[-/'\u2019:\u2010\u2011]\D+")
_WITH_LETTERS = re.compile(r"(\d+(?:[.,]\d+)*)([^\W\d]+)")
_LETTERS_FIRST = re.compile(r"([^\W\d_]+)([-\u2010\u2011]?)(\d+)")
_ORDINALS = ("st", "nd", "rd", "th", "er", "re", "e", "\u00e8me", "eme", "\u00ba", "\u00aa")
_UNITS = frozenset(
    """
    mg g kg t mm cm m km ml cl l h min ms W kW MW GW Wh kWh MWh V A Hz kHz MHz GHz B KB kB MB GB TB
    px pt dpi mph am pm \u00b5g \u00b5m ha sqm ft lb oz
    """.split()  # noqa: SIM905
)
_UNIT_AFTER = re.compile(
    rf"(?<![\w{CONNECTORS}])(?P<number>\d(?:[\d.,]*\d)?)[{SPACES}]?(?P<unit>[a-zA-Z\u00b5]{{1,3}})\b"
)

_DATE = re.compile(r"(?<![\w./-])(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?!\w|[./-]\d)")
_MONTHS = """
january february march april may june july august september october november december
""".split()  # noqa: SIM905
_MONTH = (
    r"(?P<month>" + "|".join(rf"{name[:3]}(?:{name[3:]})?" for name in _MONTHS) + r"|sept)\b\.?"
)
_NAMED_DATES = (
    re.compile(
        rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?{_MONTH},?\s+(?P<year>\d{{4}})", re.I
    ),
    re.compile(rf"\b{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})", re.I),
    re.compile(
        r"(?P<year>\d{4})[\u5e74\ub144]\s?(?P<month>\d{1,2})[\u6708\uc6d4]\s?(?P<day>\d{1,2})[\u65e5\uc77c]"
    ),
)
_TIME = re.compile(r"(?<![\w.:])([01]?\d|2[0-4])[:h]([0-5]\d)(?![\w:])")
_CLOCK = re.compile(
    r"\b(?P<hour>1[0-2]|0?[1-9])(?:[:.](?P<minute>[0-5]\d))?\s?(?P<half>[ap])\.?m\b", re.I
)


def spellings_of(text: str) -> set[str]:
    """Every spelling of the numbers, codes, e-mail addresses and URLs in `text`.

    A code has digits and letters; it comes in lower case, for a comparison that ignores the case.
    """
    allowed = set(_dates_and_times(text))
    rest = list(text)
    for found in _ADDRESS.finditer(text):
        allowed |= set(_addresses(found))
        if not found["host"]:
            rest[found.start() : found.end()] = " " * (found.end() - found.start())
    for found in _SPACED_NUMBER.finditer("".join(rest)):
        allowed |= {found[0], *number_spellings(found[0])}
        rest[found.start() : found.end()] = "\0" * (found.end() - found.start())
    for compound in _COMPOUND.findall("".join(rest)):
        if has_digit(compound):
            allowed |= set(_spellings(compound))
    for found in _UNIT_AFTER.finditer("".join(rest)):
        if found["unit"] in _UNITS:
            for number in number_spellings(found["number"]):
                allowed |= {number, f"{number}{found['unit']}".lower()}
    return allowed


def has_digit(text: str) -> bool:
    """Whether `text` has a digit of any script, or a sign such as a superscript or a fraction."""
    return any(unicodedata.category(character)[0] == "N" for character in text)


def number_spellings(number: str) -> Iterator[str]:
    """The spellings of a number: its digits with other marks for thousands and decimals.

    40,000 may be forty thousand or, in other countries, forty: both readings have the same digits.
    """
    yield number
    for pattern in (_GROUPED, _PLAIN):
        if match := pattern.fullmatch(number):
            whole = re.sub(r"\D", "", match["whole"])
            yield from _regrouped(whole, match["decimals"] or "")


def _regrouped(whole: str, decimals: str) -> Iterator[str]:
    if whole.startswith("0") and len(whole) > 1:
        return
    groups = [whole[max(end - 3, 0) : end] for end in range(len(whole), 0, -3)][::-1]
    marks = _GROUP_MARKS if len(groups) > 1 else ("",)
    round_sum = len(decimals) <= 2 and not decimals.strip("0")  # not the thousands of 40,000
    fractions = [decimals, ""] if round_sum else [decimals]
    for mark, fraction in product(marks, dict.fromkeys(fractions)):
        if not fraction:
            yield mark.join(groups)
        for point in _DECIMAL_MARKS if fraction else ():
            if point != mark:
                yield f"{mark.join(groups)}{point}{fraction}"


def _spellings(compound: str) -> Iterator[str]:
    """The spellings of one thing with digits, and of the numbers that it names by itself."""
    for spelling in {compound, unicodedata.normalize("NFKC", compound)}:
        yield spelling.lower()
        if _GROUPED.fullmatch(spelling) or _PLAIN.fullmatch(spelling):
            yield from number_spellings(spelling)
        elif match := _RANGE.fullmatch(spelling):
            yield from number_spellings(match[1])
            yield from number_spellings(match[2])
        elif _LIST.fullmatch(spelling):
            yield from spelling.split(",")
        elif match := _WITH_WORD.fullmatch(spelling):
            yield from number_spellings(match[1])
        elif match := _WITH_LETTERS.fullmatch(spelling):
            if match[2].lower() in _ORDINALS or match[2] in _UNITS:
                yield from number_spellings(match[1])
            elif match[2] == "s":  # 1990s
                yield f"{match[1]}er"
        elif match := _LETTERS_FIRST.fullmatch(spelling):
            yield from (f"{match[1]}{mark}{match[3]}".lower() for mark in ("-", " ", "", "\u2011"))


def _addresses(found: re.Match[str]) -> Iterator[str]:
    """The spellings of an e-mail address or a URL, without the marks of the sentence after it."""
    address = found[0].rstrip(_AFTER_ADDRESS)
    if found["mail"]:
        yield address.lower()
        return
    bare = re.sub(r"\A\w+://", "", address)
    for spelling in (address, bare, bare.removeprefix("www."), re.split("[/?#:]", bare)[0]):
        yield spelling.lower()
        yield spelling.rstrip("/").lower()


def _dates_and_times(text: str) -> Iterator[str]:
    for match in _DATE.finditer(text):
        first, second, last = match[1], match[3], match[4]
        if len(first) == 4 and len(last) <= 2:
            yield from _date(first, second, last)
        elif len(first) <= 2 and len(last) in (2, 4):
            yield from _date(last, second, first)
            yield from _date(last, first, second)
    for pattern in _NAMED_DATES:
        for match in pattern.finditer(text):
            month = match["month"].lower()[:3]
            number = next((n for n, m in enumerate(_MONTHS, 1) if m.startswith(month)), month)
            yield from _date(match["year"], str(number), match["day"])
    for match in _TIME.finditer(text):
        yield from _time(int(match[1]), match[2])
    for match in _CLOCK.finditer(text):
        hour = int(match["hour"]) % 12 + (12 if match["half"] in "pP" else 0)
        yield from _time(hour, match["minute"] or "00")


def _date(year: str, month: str, day: str) -> Iterator[str]:
    """The orders in which a date is written, with and without zeros; its day and its year."""
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return
    yield from (year, str(int(day)), f"{int(day):02}")
    months = (str(int(month)), f"{int(month):02}")
    for m, d in zip(months, (str(int(day)), f"{int(day):02}"), strict=True):
        for mark in "./-":
            yield from (f"{year}{mark}{m}{mark}{d}", f"{d}{mark}{m}{mark}{year}")
        yield f"{m}/{d}/{year}"
        yield f"{d}.{m}."
    in_chinese = f"{int(month)}\u6708{int(day)}\u65e5"
    in_korean = f"{int(month)}\uc6d4 {int(day)}\uc77c"
    yield from (in_chinese, f"{year}\u5e74{in_chinese}", in_korean, f"{year}\ub144 {in_korean}")


def _time(hour: int, minute: str) -> Iterator[str]:
    """A time on both clocks; the hour alone if it is a full one."""
    twelve = hour % 12 or 12
    halves = ("pm", "p.m") if hour >= 12 else ("am", "a.m")
    for shown in {str(hour), f"{hour:02}", str(twelve)}:
        yield from (f"{shown}:{minute}", f"{shown}h{minute}", f"{shown}.{minute} uhr")
        yield from (f"{shown}.{minute} {half}" for half in halves)
    if minute == "00":
        yield str(hour)
        yield from (f"{twelve} {half}" for half in halves)
