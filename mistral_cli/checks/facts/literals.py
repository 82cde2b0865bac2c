"""What is the same in every language: addresses, placeholders, tags, codes, phone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from mistral_cli.checks.facts.units import lookup

_MARKUP = re.compile(
    r"(?=[hfw{$%</+(0-9])"  # what each begins with: 3 instead of 17 ms for 100 kB
    r"(?:(?P<url>(?:https?|ftp|file)://[^\s<>\"'`\u201c\u201d\u3000-\u303f\u4e00-\u9fff]+|www\.[^\s<>\"'`]+)"
    r"|(?P<placeholder>\{\{[^{}\n]{1,60}\}\}|\$\{[^{}\n]{1,60}\}|\{[A-Za-z_][\w.:-]{0,50}\}|\{\d{0,2}\}"
    r"|%\([A-Za-z_]\w{0,50}\)[sdif]|%\d{1,2}\$[sd@]|%[sd@](?![A-Za-z])"
    r"|\$[A-Z_][A-Z0-9_]{1,60}(?![a-z])|%[A-Z][A-Z0-9_]{1,40}%)"
    r"|(?P<tag></?[A-Za-z][A-Za-z0-9-]{0,30}(?: [^<>\n]{0,200})?/?>)"
    r"|(?P<path>(?<![\w./])/[A-Za-z][\w.-]{0,60}(?:/[\w.-]{1,60}){1,12})"
    r"|(?P<phone>(?<![\w.,:/-])(?:\+\d{1,3}|\(?0\d{1,4}\)?|1-\d{3}|\(\d{2,3}\))"
    r"(?:[ /.-]{1,3}\(?\d{2,}\)?){1,6}(?!\w)"
    r"|(?<![\w.-])\d{2,3}(?:-\d{2,4}){2,3}(?![\w-])))"
)
_CHARS = r"A-Za-z0-9\u00c0-\u024f\u0370-\u04ff@._%+/:-"
_CHUNK = re.compile(
    rf"(?<![{_CHARS}])[A-Za-z\u00c0-\u024f\u0370-\u04ff]*+[0-9@._%+/:-][{_CHARS}]*+"
)
_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_FILE = re.compile(
    r"[A-Za-z0-9_-]{2,64}(?:\.[A-Za-z0-9_-]{2,64}){0,6}\.[a-z][a-z0-9]{0,7}(?:/[\w.~%/-]{0,200})?"
)
_NUMBER_WORD = re.compile(  # "1st", "Q3", "17h30", "34-jährig", "1e5": not codes
    r"\d+(?:st|nd|rd|th|er|re|ère|e|ème|eme|nd|º|ª|o|a|de|ste|te|ten|:a|:e|-?[\u0430-\u044f]{1,3}|ej|ego|s)"
    r"|[QTqt][1-4]|\d{1,2}(?:[.:]\d\d)?(?:h(?:\d\d)?|am|pm|AM|PM|uhr|Uhr)"
    r"|\d+(?:[.,]\d+)*-[^\W\d_]{3,}(?:-[^\W\d_]+)*|\d+(?:[.,]\d+)?[eE]\+?\d+"
    r"|\d{4}-\d\d-\d\d[T_]\d\d:\d\d(?::\d\d)?(?:\.\d+)?Z?(?:[+-]\d\d:\d\d)?"
    r"|\d{1,2}x|x\d{1,3}|\d+(?:st|nd|rd|th|er)-[^\W\d_]{3,}"
)
_AMOUNT = re.compile(r"[A-Z]{0,3}(?:\d+(?:[.,/-]\d+)*)([^\W\d_]+(?:/[^\W\d_]+)?)")
_VERSION = re.compile(r"v?\d+(?:\.\d+){2,}")
_DATE = re.compile(r"\d{1,3}(?:\.\d{3})+|\d{1,2}\.\d{1,2}\.(?:\d{2}|\d{4})|\d{4}\.\d{1,2}\.\d{1,2}")
_MONEY_CODE = re.compile(r"[A-Z]{3}\d+(?:[.,]\d+)*")
_MAGNITUDES = frozenset(
    (*"kKmMB", "bn", "Bn", "tn", "mn", "Mn", "mln", "Mio", "mrd", "Mrd", "md", "Md", "mld", "tkr")
)
_LONGEST_NUMBER = 15
"""Digits that a number may have: what is longer identifies something."""

_SHORTEST_PHONE = 7  # digits
_LONGEST_PREFIX = 3  # of a country: 49, 351
_DAY = re.compile(r"\d{1,2}([./-])\d{1,2}\1\d{2,4}")
_NO_KEY = re.compile(r"[\W_]+")
_PARTS = re.compile(r"\d+|[^\W\d_]+")
_NOUNS = re.compile(
    r"(?:-[A-Z\u00c4\u00d6\u00dc][a-z\u00e4\u00f6\u00fc\u00df]{2,})+\Z"
)  # "G7-Staaten"
_RUN = re.compile(r"\d[\d ()/.-]*\d")


class Literal(NamedTuple):
    """A string that is copied, never rephrased. `key` is what its spellings share."""

    kind: str
    text: str
    start: int
    end: int
    key: str


def find_literals(text: str) -> tuple[list[Literal], str]:
    """The literals of a prepared text, and the text with spaces in their place."""
    literals = [*_markup(text)]
    masked = _without(text, literals)
    chunks = [*_chunks(masked)]
    return sorted([*literals, *chunks], key=lambda each: each.start), _without(masked, chunks)


def _markup(text: str) -> Iterator[Literal]:
    for match in _MARKUP.finditer(text):
        kind = match.lastgroup or ""
        piece = match[0]
        if kind == "phone" and not _is_phone(piece):
            continue
        if kind in ("url", "path"):
            piece = piece.rstrip(".,;:!?)'")
        yield Literal(kind, piece, match.start(), match.start() + len(piece), _key(kind, piece))


def _is_phone(text: str) -> bool:
    return sum(map(str.isdigit, text)) >= _SHORTEST_PHONE and not _DAY.fullmatch(text)


def _chunks(text: str) -> Iterator[Literal]:
    for match in _CHUNK.finditer(text):
        piece = match[0]
        start = match.start() + len(piece) - len(piece.lstrip("._:/%+-"))
        piece = piece.strip("._:/%+-")
        if kind := _kind(piece):
            yield Literal(kind, piece, start, start + len(piece), _key(kind, piece))


def _kind(piece: str) -> str | None:
    if "@" in piece:
        return "mail" if _MAIL.fullmatch(piece) else None
    if not _DIGIT.search(piece):
        if "_" in piece:
            return "code"
        return "file" if "." in piece and _FILE.fullmatch(piece) else None
    if not _LETTER.search(piece):
        if len(piece) > _LONGEST_NUMBER and piece.isdigit():
            return "code"
        return "code" if _VERSION.fullmatch(piece) and not _DATE.fullmatch(piece) else None
    if _NUMBER_WORD.fullmatch(piece) or _MONEY_CODE.fullmatch(piece):
        return None
    amount = _AMOUNT.fullmatch(piece)
    if amount and (amount[1] in _MAGNITUDES or lookup(amount[1])):
        return None
    return "code"


def _key(kind: str, text: str) -> str:
    if kind in ("placeholder", "tag"):
        return text.split(" ")[0].rstrip("/>") if kind == "tag" else text.replace(" ", "")
    if kind == "url":
        text = re.sub(r"^[a-z]+://|^www\.", "", text.lower()).removeprefix("www.")
        return text.rstrip("/")
    if kind == "phone":
        return re.sub(r"\(0\)|\D", "", text)
    if kind in ("mail", "file", "path"):
        return text.lower().rstrip("/")
    return squeezed(text)


def squeezed(text: str) -> str:
    """The letters and digits of a text, without case."""
    return _NO_KEY.sub("", text.casefold())


def _without(text: str, literals: list[Literal]) -> str:
    if not literals:
        return text
    parts = []
    at = 0
    for each in literals:
        parts += [text[at : each.start], "\x00" * (each.end - each.start)]
        at = each.end
    return "".join([*parts, text[at:]])


class LiteralIndex:
    """What a text has that a literal may be found in."""

    def __init__(self, text: str, literals: list[Literal]) -> None:
        self._source = text
        self._keys = {each.key for each in literals}

    @cached_property
    def _text(self) -> str:
        return self._source.lower()

    def _has_parts(self, key: str) -> bool:
        """True for a code that the text writes in parts: "NX 450"."""
        parts = _PARTS.findall(key)
        pattern = r"[ .:#/-]{0,3}".join(map(re.escape, parts))
        return bool(parts) and re.search(rf"(?<!\w){pattern}(?!\w)", self._text) is not None

    @cached_property
    def _runs(self) -> str:
        """The digits of every number, however it is grouped."""
        return "|".join(re.sub(r"\D", "", run) for run in _RUN.findall(self._source))

    def _has_phone(self, key: str) -> bool:
        """True if the text has a phone number with, or without, the prefix of its country."""
        key = key.lstrip("0")
        others = (run.lstrip("0") for run in self._runs.split("|"))
        return any(
            min(len(key), len(other)) >= _SHORTEST_PHONE
            and abs(len(key) - len(other)) <= _LONGEST_PREFIX
            and (key.endswith(other) or other.endswith(key))
            for other in others
        )

    def has(self, literal: Literal) -> bool:
        """True if the text has the literal, in this or another spelling."""
        if literal.key in self._keys:
            return True
        if literal.kind == "phone":
            return literal.key in self._runs or self._has_phone(literal.key)
        if literal.kind in ("url", "mail", "file", "path"):
            return literal.key in self._text
        if literal.kind == "code":
            code = _NOUNS.sub("", literal.text)
            return any(
                each.lower() in self._text or self._has_parts(squeezed(each))
                for each in {literal.text, code}
            )
        return False
