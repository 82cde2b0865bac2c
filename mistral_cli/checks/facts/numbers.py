"""Reads numbers: digits in every notation, number words, magnitudes, Roman numerals."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from mistral_cli.checks.facts.lexicon import Lexicon, Part, small_words

if TYPE_CHECKING:
    from mistral_cli.checks.facts.tokens import Token

_SUFFIXES = {
    **{"k": 3, "K": 3, "tkr": 3, "mn": 6, "Mn": 6, "mln": 6, "Mio": 6, "mio": 6, "bn": 9, "Bn": 9},
    **{"mrd": 9, "Mrd": 9, "md": 9, "Md": 9, "mld": 9, "tn": 12, "Tsd": 3, "mill": 6},
}
_MONEY_SUFFIXES = {"m": 6, "M": 6, "b": 9, "B": 9}
_SUFFIX = re.compile(
    r" ?(tkr|[mM]ln|[mM]io|[mM]rd|mld|mill|Tsd|[bB]n|[mM]n|[mM]d|tn|[kKmMbB])(?![^\W\d_])\.?"
)
_MILLIONS_OF = re.compile(r" ?(M|k|m|Md)(?=[€$£])")
_ORDINAL = re.compile(
    r"(?:st|nd|rd|th|er|re|ère|ème|eme|º|ª|ste|te|ten|e|de|:a|:e|-?[\u0430-\u044f]{1,3})"
    r"(?![^\W\d_])|\.(?= ?[^\W\d_])"
)
_GAP = re.compile(r"[ -]{0,2}")
_POWER = re.compile(
    r"(?P<factor>[\d.,]+) ?(?:[^\d.,^]+10\^?|[eE]\+?)"
    r"(?P<exponent>-?[\d\u2070-\u2079\u00b9\u00b2\u00b3]+)"
)
_ROMAN = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_LARGEST = 15  # an exponent
_LAST_DOTTED = 31  # "31." may be the 31st: what is larger ends a sentence
_LONGEST = 40
"""The most characters of a number in digits: nobody counts with longer ones."""


@dataclass
class Number:
    """A number at a place: every value it may have, and the index of the token after it."""

    values: tuple[Fraction, ...]
    start: int
    end: int
    after: int
    word: bool = False
    ordinal: bool = False
    fraction: bool = False
    unsure: bool = False
    several: bool = False  # it has more than one word
    scale: bool = False  # a scale alone: "thousands"
    half: Fraction | None = None  # "ocho y media": the eight


def digit_values(text: str) -> tuple[Fraction, ...]:
    """The values of a number in digits. "14.000" has two of them, "14.000,00" one."""
    text = text.replace(" ", "")
    vulgar = unicodedata.numeric(text[-1], None) if text[-1:] > "\x7f" else None
    if vulgar is not None and not text[-1].isdecimal():
        whole = Fraction(text[:-1].replace(",", ".") or 0)
        return (whole + Fraction(vulgar).limit_denominator(16),)
    marks = [char for char in text if char in ".,'"]
    if not marks:
        return (Fraction(text[:60]),)
    plain = text.replace("'", "")
    if len(set(marks)) == 1 and len(marks) == 1 and marks[0] != "'":
        head, tail = plain.split(marks[0])
        decimal = Fraction(f"{head}.{tail[:40]}")
        if len(tail) == 3 and head != "0" and len(head) <= 3:
            return (Fraction(head + tail), decimal)
        return (decimal,)
    if len(set(marks)) == 1:
        return (Fraction(plain.replace(marks[0], "")),)
    last = max(plain.rfind("."), plain.rfind(","))
    head = re.sub(r"[.,]", "", plain[:last])
    return (Fraction(f"{head}.{plain[last + 1 :]}"),)


def power_value(text: str) -> Fraction | None:
    """The value of "4·10^4" or "4e4"."""
    match = _POWER.fullmatch(text)
    if not match:
        return None
    exponent = int(unicodedata.normalize("NFKC", match["exponent"]))
    if abs(exponent) > _LARGEST:
        return None
    return digit_values(match["factor"])[-1] * Fraction(10) ** exponent


def roman_value(text: str) -> int | None:
    """The value of a Roman numeral of at least two letters."""
    if len(text) < 2 or not _ROMAN.fullmatch(text):
        return None
    values = [_ROMAN_VALUES[char] for char in text]
    return sum(
        -value if following > value else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )


class _Sum:
    """Adds up the parts of one number until one comes that cannot belong to it."""

    def __init__(self, reverse: bool) -> None:
        self.total = Fraction(0)
        self.current = Fraction(0)
        self.scale: Fraction | None = None
        self.filled = False
        self.done = False
        self.is_fraction = False  # a fraction alone
        self._reverse = reverse

    @property
    def value(self) -> Fraction:
        return self.total + self.current

    def add(self, part: Part, joined: bool) -> bool:
        """Add a part, or return False if it does not continue the number."""
        if part.role == "scale" and self.is_fraction:  # "half a million"
            self.current, self.scale = self.current * part.value, part.value
            self.is_fraction = False
            return True
        if self.done:
            return False
        if part.role == "scale":
            return self._multiply(part.value)
        if part.role == "fraction":
            return self._fraction(part.value, joined)
        if part.role in ("number", "ordinal") and self._small(part.value, joined):
            self.done = part.role == "ordinal"
            self.filled = True
            return True
        return False

    def _small(self, value: Fraction, joined: bool) -> bool:
        low = self.current % 100
        if value >= 100:
            if value == 100 and 0 < self.current < 100:
                self.current *= 100
            elif self.current == 0 and (not self.filled or self.total):
                self.current = value
            else:
                return False
            return True
        begins = low == 0 and (not self.filled or self.current or self.total)
        units = low >= 20 and low % 10 == 0 and 0 < value < 10
        teens = low in (60, 80) and 10 <= value < 20  # "soixante-dix"
        teens = teens or (low == 10 and 7 <= value < 10)  # "dix-sept"
        if begins or units or teens:
            self.current += value
        elif low == 4 and value == 20:  # "quatre-vingt"
            self.current += 76
        elif self._reverse and joined and 0 < low < 10 and value >= 20 and value % 10 == 0:
            self.current += value
        else:
            return False
        return True

    def _multiply(self, scale: Fraction) -> bool:
        if self.filled and not self.value:
            return False
        if self.scale is None or scale < self.scale:
            if self.filled and not self.current:
                return False
            self.total += (self.current or 1) * scale
        elif scale > self.scale:
            self.total = self.value * scale  # "mil millones"
        else:
            return False
        self.current, self.scale, self.filled = Fraction(0), scale, True
        return True

    def _fraction(self, value: Fraction, joined: bool) -> bool:
        self.done = True
        if not self.filled:
            self.current = value
            self.is_fraction = True
        elif joined:  # "one and a half", "dos millones y medio"
            self.current += value * (self.scale or 1 if not self.current else 1)
        elif value != Fraction(1, 2) and self.value <= 20:  # "two thirds"
            self.current *= value
        else:
            return False
        self.filled = True
        return True


def read_number(text: str, tokens: list[Token], at: int, lexicon: Lexicon) -> Number | None:
    """The number that starts with a token, in digits or words; None if none does."""
    token = tokens[at]
    if token.kind != "word" and token.end - token.start > _LONGEST:
        return None
    if token.kind in ("digits", "grouped", "power") or (token.kind == "pair" and "." in token.text):
        return _digits(text, tokens, at, lexicon)
    return _words(text, tokens, at, lexicon) if token.kind == "word" else None


def _digits(text: str, tokens: list[Token], at: int, lexicon: Lexicon) -> Number | None:
    token = tokens[at]
    if token.kind == "power":
        power = power_value(token.text)
        return Number((power,), token.start, token.end, at + 1) if power is not None else None
    values = digit_values(token.text)
    number = Number(values, token.start, token.end, at + 1)
    ordinal = _ORDINAL.match(text, token.end)
    if ordinal and (ordinal[0] != "." or values[0] <= _LAST_DOTTED):
        number.ordinal = True
        if ordinal[0] != ".":
            number.end = ordinal.end()
            number.after = _after(tokens, at + 1, number.end)
            return number
    _magnitude(text, tokens, number, lexicon)
    return number


def _magnitude(text: str, tokens: list[Token], number: Number, lexicon: Lexicon) -> None:
    """Multiply a number in digits by "k", "million" and the like, and add "½" or "1/2"."""
    match = _MILLIONS_OF.match(text, number.end) or _SUFFIX.match(text, number.end)
    if match:
        money = match.re is _MILLIONS_OF or text[max(0, number.start - 2) : number.start].strip()[
            -1:
        ] in tuple("€$£¥")
        power = _SUFFIXES.get(match[1]) or (_MONEY_SUFFIXES.get(match[1]) if money else None)
        if (
            not power
            and match[1] in _MONEY_SUFFIXES
            and re.match(r" ?(?:euro|dollar|pound)", text[match.end() :])
        ):
            power = _MONEY_SUFFIXES[match[1]]
        if power:
            number.values = tuple(value * 10**power for value in number.values)
            number.end = match.end()
            number.after = _after(tokens, number.after, number.end)
            if match[1] != "k" or money:
                return
            return
    at = number.after
    while (
        at < len(tokens) and tokens[at].kind == "word" and _adjacent(text, number.end, tokens[at])
    ):
        parts = lexicon.parts_of(tokens[at].text)
        scale = (
            next((part for part in parts[0] if part.role == "scale"), None)
            if len(parts) == 1
            else None
        )
        if scale is None:
            break
        number.values = tuple(value * scale.value for value in number.values)
        number.end = tokens[at].end
        at += 1
    number.after = at
    if (
        at < len(tokens)
        and tokens[at].kind == "pair"
        and text[number.end : tokens[at].start] == " "
    ) and (fraction := small_fraction(tokens[at].text)):
        number.values = tuple(value + fraction for value in number.values)
        number.end, number.after = tokens[at].end, at + 1


def small_fraction(pair: str) -> Fraction | None:
    """The value of "1/2", "3/4" and the like; None for other pairs."""
    head, mark, tail = pair.partition("/")
    if mark and 0 < int(head) < int(tail) <= 16:
        return Fraction(int(head), int(tail))
    return None


def _adjacent(text: str, end: int, token: Token) -> bool:
    return token.start - end <= 2 and bool(_GAP.fullmatch(text, end, token.start))


def _after(tokens: list[Token], at: int, end: int) -> int:
    while at < len(tokens) and tokens[at].start < end:
        at += 1
    return at


def _words(text: str, tokens: list[Token], at: int, lexicon: Lexicon) -> Number | None:
    token = tokens[at]
    parts = lexicon.parts_of(token.text)
    if not parts or parts[0][0].role == "join":
        return None
    result = _Sum(lexicon.reversed)
    values = _first(parts[0], result)
    if values is None:
        return None
    number = Number((), token.start, token.end, at + 1, word=True)
    number.ordinal = any(part.role == "ordinal" for part in parts[0])
    number.fraction = any(part.role == "fraction" for part in parts[0])
    number.unsure = token.text in lexicon.unsure
    if not _add_all(parts[1:], result, number):
        return None
    _continue(text, tokens, number, result, lexicon)
    alone = number.after == at + 1 and len(parts) == 1
    number.values = values if alone else (result.value,)
    number.several = number.after > at + 1
    number.scale = (
        alone and parts[0][0].role == "scale" and token.text not in small_words("definite")
    )
    return number


def _first(roles: list[Part], result: _Sum) -> tuple[Fraction, ...] | None:
    values = tuple(part.value for part in roles if part.role != "join")
    part = next((part for part in roles if part.role in ("number", "scale", "fraction")), roles[0])
    if part.role == "multiple":
        result.done = result.filled = True
        result.current = part.value
        return values
    return values if result.add(part, joined=False) else None


def _add_all(parts: list[list[Part]], result: _Sum, number: Number) -> bool:
    joined = False
    for roles in parts:
        if roles[0].role == "join":
            joined = True
            continue
        # "dreieinhalb" joins its half without a word
        half = roles[0].role == "fraction"
        if not _add(roles, result, number, joined or half):
            return False
        joined = False
    return True


def _add(roles: list[Part], result: _Sum, number: Number, joined: bool) -> bool:
    before = result.value
    for part in roles:
        if result.add(part, joined):
            number.ordinal = part.role == "ordinal"
            number.fraction = part.role == "fraction"
            number.scale = False
            if number.fraction and part.value == Fraction(1, 2):
                number.half = before
            return True
        result.done = False
    return False


def _continue(
    text: str, tokens: list[Token], number: Number, result: _Sum, lexicon: Lexicon
) -> None:
    at = number.after
    joined = False
    while at < len(tokens) and tokens[at].kind == "word":
        if result.done and not result.is_fraction:
            break
        token = tokens[at]
        end = tokens[at - 1].end
        if not _adjacent(text, end, token):
            break
        parts = lexicon.parts_of(token.text)
        if not joined and parts and any(part.role == "join" for part in parts[0]):
            joined = True
            at += 1
            continue
        if joined and lexicon.phrase("articles", [token.text]) and at + 1 < len(tokens):
            following = lexicon.parts_of(tokens[at + 1].text)
            if following and any(part.role == "fraction" for part in following[0]):
                at += 1
                continue
        if result.is_fraction and lexicon.phrase("articles", [token.text]) and at + 1 < len(tokens):
            following = lexicon.parts_of(tokens[at + 1].text)
            if following and following[0][0].role == "scale":
                at += 1
                continue
        if not parts or len(parts) > 1 or not _add(parts[0], result, number, joined):
            break
        joined = False
        at += 1
        number.after, number.end = at, token.end


def is_rounded(shown: Fraction, exact: Fraction) -> bool:
    """True if `shown` is `exact`, rounded up or down by at most a tenth."""
    if shown == exact or not shown or not exact or abs(shown - exact) * 10 > abs(exact):
        return False
    unit = Fraction(1)
    while shown % unit:
        unit /= 10
        if unit < Fraction(1, 10**6):
            return False
    while not shown % (unit * 10):
        unit *= 10
    return abs(shown - exact) < unit


def nearest_float(value: Fraction) -> float:
    """A value as a float; 0 for one that is too large for it."""
    try:
        return float(value)
    except OverflowError:
        return 0.0
