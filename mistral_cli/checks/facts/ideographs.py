"""Numbers, dates and times as Chinese, Japanese and Korean write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from mistral_cli.checks.facts.facts import (
    Clock,
    Day,
    Fact,
    Quantity,
    Reading,
    century,
    decades,
)
from mistral_cli.checks.facts.numbers import digit_values
from mistral_cli.checks.facts.units import unit_after

_DIGITS = {char: value for value, char in enumerate("〇一二三四五六七八九")} | {
    **{"零": 0, "两": 2, "兩": 2},
}
_TENS = {"十": 10, "百": 100, "千": 1000}
_SCALES = {
    **{"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12, "만": 10**4, "억": 10**8},
}
_NUMERAL = "〇零一二三四五六七八九十百千两兩"
_PIECE = rf"(?:\d+(?:[,.]\d+)*|[{_NUMERAL}]{{1,12}})"
_ONE = rf"\d{{1,2}}|[{_NUMERAL}]{{1,2}}"
_TWO = rf"\d{{1,2}}|[{_NUMERAL}]{{1,3}}"
_LARGE = "万萬亿億兆千百만억"
_TIME = (
    "(?P<half>上午|下午|早上|晚上|凌晨|中午|傍晚|午前|午後|朝|夜|오전|오후)?"
    rf" ?(?P<hour>{_TWO}) ?(?P<mark>[点點時时시])(?!間|间|点|之)"
    rf"(?P<past>半|(?: ?(?P<minute>{_TWO}) ?[分분])|(?P<quarter>[一三])刻)?钟?"
)
_DATE = (
    rf"(?:(?P<year>\d{{4}}|[{_NUMERAL}]{{4}}) ?[年년] ?)?(?P<month>{_ONE}) ?[月월](?![間间])"
    rf"(?: ?(?P<day>{_TWO}) ?[日号號일])?"
)
_WEEKDAY = (
    r"(?:星期|周|週|礼拜)(?P<zh>[一二三四五六日天])|(?P<ja>[月火水木金土日])曜日?"
    r"|\((?P<short>[月火水木金土日])\)|(?P<ko>[월화수목금토일])요일"
)
_AMOUNT = (
    rf"百分之(?P<percent>{_PIECE})|第(?P<rank>[{_NUMERAL}]{{1,4}}|\d+)"
    rf"|(?P<amount>(?<![0-9A-Za-z:.,/-]){_PIECE}(?![:\d])"
    rf"(?:[{_LARGE}](?:{_PIECE}(?:[{_LARGE}])?){{0,3}}){{0,3}}[{_LARGE}]?)"
)
_FACT = rf"(?P<date>{_DATE})|(?P<weekday>{_WEEKDAY})|(?P<time>{_TIME})|{_AMOUNT}"
"""Compiled when the first text needs it: that takes 3 ms."""

_COUNTED = re.compile(
    " ?[个個名人位台本冊册点件条條只頭头匹枚歳岁周週年天分秒元円圆块度级級层層楼階次回倍割成"
    "户戸家所场場间間吨盏张艘棵座公千米km%字页頁题日号項项票辆輛瓶杯盒箱か月ヶカ季]"
)
_CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+")
_AROUND = 24  # characters of a date or number in digits before such a character
_AFTERNOON = ("下午", "晚上", "傍晚", "午後", "夜", "오후")
_WEEK_ZH = "一二三四五六日"
_WEEK_JA = "月火水木金土日"
_WEEK_KO = "월화수목금토일"


def numeral(text: str) -> Fraction:
    """The value of "三万五千", "12.4亿" or "3千"."""
    total = section = Fraction(0)
    digit: Fraction | None = None
    for piece in re.findall(r"\d+(?:[,.]\d+)*|.", text):
        if piece in _DIGITS:
            digit = (digit or Fraction(0)) * 10 + _DIGITS[piece]
        elif piece in _TENS:
            section += (1 if digit is None else digit) * _TENS[piece]
            digit = None
        elif piece in _SCALES:
            total += ((section + (digit or 0)) or 1) * _SCALES[piece]
            section, digit = Fraction(0), None
        else:
            digit = digit_values(piece)[0]
    return total + section + (digit or 0)


def find_ideographs(text: str) -> tuple[list[Fact], str]:
    """The facts that such a text writes in its own way, and the text with spaces in their place."""
    if not _CJK.search(text):
        return [], text
    facts = [fact for start, end in _regions(text) for fact in _facts(text, start, end)]
    parts = []
    at = 0
    for fact in facts:
        parts += [text[at : fact.start], "\x00" * (fact.end - fact.start)]
        at = fact.end
    return facts, "".join([*parts, text[at:]])


def _regions(text: str) -> list[list[int]]:
    """The parts of a text near such characters."""
    regions: list[list[int]] = []
    for match in _CJK.finditer(text):
        start, end = match.start() - _AROUND, match.end() + _AROUND
        if regions and start <= regions[-1][1]:
            regions[-1][1] = end
        else:
            regions.append([max(0, start), end])
    return regions


def _facts(text: str, start: int, end: int) -> Iterator[Fact]:
    for match in re.compile(_FACT).finditer(text, start, end):
        if match["date"]:
            yield _date(match)
        elif match["weekday"]:
            yield _weekday(match)
        elif match["time"]:
            yield _time(match)
        elif (fact := _amount(match, text)) is not None:
            yield fact


def _date(match: re.Match[str]) -> Fact:
    year = match["year"] and int(numeral(match["year"]))
    month = int(numeral(match["month"]))
    day = match["day"] and int(numeral(match["day"]))
    return Fact("dates", *match.span(), ((Day(year or None, month, day or None),),))


def _weekday(match: re.Match[str]) -> Fact:
    name = match["zh"] or match["ja"] or match["short"] or match["ko"]
    for names in (_WEEK_ZH if match["zh"] else _WEEK_JA, _WEEK_KO):
        if (at := names.find("日" if name == "天" else name)) >= 0:
            return Fact("dates", *match.span(), ((Day(weekday=at + 1),),))
    return Fact("dates", *match.span(), ((Day(weekday=7),),))


def _time(match: re.Match[str]) -> Fact:
    hour = int(numeral(match["hour"]))
    minute = 0
    if match["quarter"]:
        minute = 15 if match["quarter"] == "一" else 45
    elif match["past"]:
        minute = 30 if match["past"] == "半" else int(numeral(match["minute"]))
    half = match["half"]
    base = hour * 60 + minute
    if half and hour <= 12:
        base = base % 720 + 720 * (half in _AFTERNOON)
        minutes = frozenset((base,))
    elif hour <= 12 and not half:
        minutes = frozenset((base, (base + 720) % 1440))
    else:
        minutes = frozenset((base % 1440,))
    readings: tuple[Reading, ...] = ((Clock(minutes),),)
    if match["mark"] in "点點" and not match["past"] and not half:
        readings += ((Quantity(Fraction(hour)),),)  # "2点": two items, in Japanese
    return Fact("dates", *match.span(), readings)


def _amount(match: re.Match[str], text: str) -> Fact | None:
    start, end = match.span()
    if match["percent"]:
        percent = Quantity(numeral(match["percent"]), frozenset({"percent"}))
        return Fact("numbers", start, end, ((percent,),))
    if match["rank"]:
        return Fact("numbers", start, end, ((Quantity(numeral(match["rank"])),),))
    piece = match["amount"]
    plain = not re.search(r"\d", piece)
    following = text[end : end + 1]
    digits = not plain and not re.search(rf"[{_NUMERAL}万萬亿億兆만억]", piece)
    if digits and not _CJK.match(following):
        return None  # read like those of other texts
    if plain and len(piece) == 1 and not _COUNTED.match(text, end):
        return None
    if (
        plain
        and len(piece) > 1
        and not _COUNTED.match(text, end)
        and not re.search("[十百千万亿億]", piece)
    ):
        return None
    value = numeral(piece)
    units, stop = unit_after(text, end)
    readings: tuple[Reading, ...] = ((Quantity(value, units),),)
    if "century" in units:
        readings += ((century(int(value)),),)
    if text.startswith("年代", end):
        readings += tuple((each,) for each in decades(int(value)))
    if following in ("割", "成"):
        readings = ((Quantity(value * 10, frozenset({"percent"})),),)
        stop = end + 1
    if plain and piece == "一":
        return Fact("numbers", start, end, readings, checked=False, word=True)
    return Fact("numbers", start, stop, readings, word=plain)
