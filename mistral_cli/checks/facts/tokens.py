"""Splits a text into numbers in digits, words and marks, each with its place."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mistral_cli.checks.facts.lexicon import Lexicon

_MARKS = {
    **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000\t\n\r", " "),
    **{"\uff0c": ",", "\uff0e": ".", "\uff1a": ":", "\uff0f": "/", "\uff0d": "-", "\uff05": "%"},
    **{"\u066b": ".", "\u066c": ",", "\u066a": "%", "\u2212": "-", "\u2011": "-"},
    **{"\u2013": "-", "\u2014": "-", "\u301c": "-", "\uff5e": "-", "\u02bc": "'", "\u2019": "'"},
    **{"\uff08": "(", "\uff09": ")", "\uffe5": "\u00a5", "\uff04": "$"},
}
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_PLAIN = re.compile("[\x00-\x7f\u00c0-\u017f]*")

_TOKEN = re.compile(
    r"(?P<date>"
    r"\d{4}-\d{1,2}-\d{1,2}(?!\d)|\d{4}(?P<a>[./])\d{1,2}(?P=a)\d{1,2}(?!\d)"
    r"|\d{1,2}(?P<b>[./-]) ?\d{1,2}(?P=b) ?\d{4}(?!\d)"
    r"|\d{1,2}(?P<c>[./-])\d{1,2}(?P=c)\d{2}(?![\d/])"
    r"|\d{1,2}\.\d{1,2}\.(?!\d)|\d{1,2}/\d{4}(?!\d))"
    r"|(?P<clock>\d{1,2}:[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?(?!\d|:\d)|\d{1,2} ?h ?[0-5]\d(?!\w))"
    r"|(?P<power>\d+(?:[.,]\d+)? ?[\u00b7\u00d7x*\u22c5] ?10"
    r"(?:\^-?\d+|[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+)"
    r"|\d+(?:[.,]\d+)?[eE]\+?\d{1,2}(?!\w))"
    r"|(?P<grouped>\d{1,3}(?: \d{3})+(?!\d)(?:[.,]\d+)?"
    r"|\d{1,3}(?P<d>[.,'])\d{3}(?:(?P=d)\d{3})*(?!\d)(?:[.,]\d+)?)"
    r"|(?P<pair>\d{1,2}[./-]\d{1,2}(?![\d/]))"
    r"|(?P<digits>\d+(?:[.,]\d+)?[\u00bc-\u00be\u2150-\u215e]?|[\u00bc-\u00be\u2150-\u215e])"
    r"|(?P<word>[^\W\d_]+(?:[-'][^\W\d_]+)*)"
    r"|(?P<mark>[^\w\s])"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_TRIGGER = re.compile(r"\d|[\u00bc-\u00be\u2150-\u215e]|([^\W\d_]+)")
_BEFORE, _AFTER = 50, 70
"""Characters around a number that may belong to the same date or amount: four long words."""


class Token(NamedTuple):
    """A number in digits, a word in lower case, or a mark."""

    kind: str
    text: str
    start: int
    end: int


def prepare(text: str) -> str:
    """The text with ASCII digits, spaces and signs; every character keeps its place."""
    text = text.translate(_translation())
    if _PLAIN.fullmatch(text):
        return text
    return _OTHER_DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)


@cache
def _translation() -> dict[int, str]:
    return str.maketrans(_MARKS)


def tokenize(text: str, lexicon: Lexicon) -> list[Token]:
    """The tokens of a prepared text around its numbers, dates and times.

    Where a part of the text is left out, a mark without characters stands for it.
    """
    tokens: list[Token] = []
    last = 0
    for start, end in _windows(text, lexicon):
        if start > last:
            tokens.append(Token("mark", "", start, start))
        tokens += _tokens(text, start, end, lexicon)
        last = end
    return tokens


def _windows(text: str, lexicon: Lexicon) -> list[list[int]]:
    """The parts of a text that have something to read, with a few words on each side."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters become two
        lower = "".join(char.lower()[:1] for char in text)
    starts = lexicon.starts_fact
    triggers = {word for word in set(_LETTERS.findall(lower)) if starts(word)}
    windows: list[list[int]] = []
    for match in _TRIGGER.finditer(lower):
        if match[1] is not None and match[1] not in triggers:
            continue
        start = match.start()
        if windows and start - _BEFORE <= windows[-1][1]:
            windows[-1][1] = start + _AFTER
        else:
            windows.append([max(0, start - _BEFORE), start + _AFTER])
    for window in windows:
        window[0] = 0 if not window[0] else _boundary(text, window[0], window[0] + _BEFORE)
        window[1] = _boundary(text, window[1], len(text))
    return windows


def _boundary(text: str, at: int, limit: int) -> int:
    """The next space, but not beyond `limit`."""
    space = text.find(" ", at, limit)
    return limit if space < 0 else space


def _tokens(text: str, start: int, end: int, lexicon: Lexicon) -> list[Token]:
    """Words are split at hyphens if they are not known as a whole."""
    tokens = []
    for match in _TOKEN.finditer(text, start, end):
        kind = match.lastgroup or "mark"
        piece = match[0]
        if kind == "date" and piece[-1] == "." and not _is_day(piece, lexicon):
            tokens.append(Token("pair", piece[:-1], match.start(), match.end() - 1))
            tokens.append(Token("mark", ".", match.end() - 1, match.end()))
        elif kind != "word":
            tokens.append(Token(kind, piece, match.start(), match.end()))
        else:
            lower = piece.lower()
            if ("-" in lower or "'" in lower) and not _known(lower, lexicon):
                tokens.extend(_split(lower, match.start()))
            elif cut := lexicon.numeral_length(lower):
                middle = match.start() + cut
                tokens.append(Token("word", lower[:cut], match.start(), middle))
                tokens.append(Token("word", lower[cut:], middle, match.end()))
            else:
                tokens.append(Token("word", lower, match.start(), match.end()))
    return tokens


def _is_day(piece: str, lexicon: Lexicon) -> bool:
    """True if "20.30." may be a date: in English it is a number at the end of a sentence."""
    day, month = piece[:-1].split(".")
    return lexicon.code != "en" and 1 <= int(day) <= 31 and 1 <= int(month) <= 12


def _known(word: str, lexicon: Lexicon) -> bool:
    return (
        word in lexicon.parts
        or word in lexicon.weekdays
        or word in lexicon.months
        or any(word in phrases.get(word, ()) for phrases in lexicon.phrases.values())
    )


def _split(word: str, start: int) -> list[Token]:
    tokens = []
    for match in re.finditer(r"[^-']+", word):
        tokens.append(Token("word", match[0], start + match.start(), start + match.end()))
    return tokens
