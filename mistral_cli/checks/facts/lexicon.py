"""The words in which a language writes numbers, dates and times; `lexicon.toml` has them."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mistral_cli.texts.languages import language_code, recognize

_ROLES = {
    "numbers": "number",
    "scales": "scale",
    "ordinals": "ordinal",
    "fractions": "fraction",
    "multiples": "multiple",
}
_PHRASES = (
    *("half", "past", "to", "noon", "midnight", "morning", "afternoon", "hour", "roughly"),
    *("articles", "lists"),
)


_DURATION = re.compile(  # the rest of "vierjährig", "czteroletni", "шестилетний"
    r"(?:(?:jähr|täg|wöch|monat|stünd)ig|letni|dniow|tygodniow|miesięczn|godzinn"
    r"|летн|дневн|недельн|месячн|часов)\w{0,3}\Z"
)
_LONGEST_COMPOUND = 60
_RUSSIAN = "ыэЫЭ"  # of the languages whose words are known here, others do without
_SAMPLE = 5000  # characters of a text that tell its language


class Part(NamedTuple):
    """What a word contributes to a number."""

    role: str
    value: Fraction = Fraction(0)


@dataclass
class Lexicon:
    """The words of one language. See `lexicon.toml` for the meaning of each table."""

    code: str | None = None
    parts: dict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    stems: dict[str, Part] = field(default_factory=dict)
    months: dict[str, int] = field(default_factory=dict)
    weekdays: dict[str, int] = field(default_factory=dict)
    sure: frozenset[str] = frozenset()  # months and weekdays that are nothing else
    phrases: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)
    unsure: frozenset[str] = frozenset()
    compounds: bool = False
    reversed: bool = False
    _compounds: dict[str, list[Part] | None] = field(default_factory=dict)
    _starts: dict[str, bool] = field(default_factory=dict)

    @property
    def has_number_words(self) -> bool:
        """True if the numbers of the language are known as words."""
        return bool(self.parts)

    def parts_of(self, word: str) -> list[list[Part]]:
        """The parts of a number that a word in lower case is made of, each with its roles.

        Empty if it is not part of a number.
        """
        if parts := self.parts.get(word):
            return [parts]
        if self.stems:
            for cut in range(len(word), max(2, len(word) - 4), -1):
                if part := self.stems.get(word[:cut]):
                    return [[part]]
        if self.compounds and 5 < len(word) <= _LONGEST_COMPOUND:
            if ordinal := self._ending(word):
                return [ordinal]
            return [[part] for part in self._split(word) or ()]
        return []

    def is_multiple(self, word: str) -> bool:
        """True for "double" and the like."""
        return any(part.role == "multiple" for part in self.parts.get(word, ()))

    def numeral_length(self, word: str) -> int:
        """How many letters of "vierjährig" are its number; 0 for words that are not like it."""
        match = _DURATION.search(word)
        return match.start() if match and self.parts_of(word[: match.start()]) else 0

    def _split(self, word: str) -> list[Part] | None:
        """The number words that a compound is made of, the longest first; None if it has others."""
        if word not in self._compounds:
            self._compounds[word] = self._split_from(word)
        return self._compounds[word]

    def _split_from(self, word: str) -> list[Part] | None:
        parts: list[Part] = []
        at = 0
        while at < len(word):
            for end in range(min(len(word), at + 14), at + 1, -1):
                piece = word[at:end]
                known = self.parts.get(piece)
                if known is None and end == len(word):
                    known = self._ending(piece)
                if known and known[0].role != "article":
                    parts.append(known[0])
                    at = end
                    break
            else:
                return None
        return parts if len(parts) > 1 else None

    def _ending(self, piece: str) -> list[Part] | None:
        """The last piece of an ordinal: "zwanzigsten", or of a German or Dutch half."""
        if piece.endswith(("esimo", "esima", "esimi", "esime")):  # "quarantunesimo"
            stem = piece[:-5]
            forms = (stem + vowel for vowel in ("", "a", "o", "e", "i"))
            values = (_value(self.parts_of(form)) for form in forms)
            return next(([Part("ordinal", value)] for value in values if value), None)
        for ending in ("ste", "sten", "ster", "stes", "stem", "te", "ten", "ter", "de"):
            if piece.endswith(ending) and (known := self.parts.get(piece[: -len(ending)])):
                return [Part("ordinal", known[0].value)]
        return None

    def phrase(self, table: str, words: list[str]) -> int:
        """How many of the words, from the first on, make up a phrase of a table; 0 for none."""
        phrases = words and self.phrases[table].get(words[0])
        if not phrases:
            return 0
        for count in range(min(4, len(words)), 0, -1):
            if "+".join(words[:count]) in phrases:
                return count
        return 0

    def starts_fact(self, word: str) -> bool:
        """True for a word in lower case that a number, a date or a time may begin with."""
        known = self._starts.get(word)
        if known is None:
            known = self._starts[word] = (
                word in self.months
                or word in self.weekdays
                or any(word in self.phrases[table] for table in ("noon", "midnight", "half"))
                or any(part.role != "join" for parts in self.parts_of(word) for part in parts)
                or bool(self.numeral_length(word))
            )
        return known


def _value(parts: list[list[Part]]) -> Fraction:
    """The value of the simple compounds that an Italian ordinal is made of."""
    return sum((roles[0].value for roles in parts), Fraction(0))


@cache
def small_words(table: str) -> frozenset[str]:
    """The words of a table of `words.toml`."""
    return frozenset(_small_tables()[table].split())


@cache
def _small_tables() -> Mapping[str, str]:
    path = Path(__file__).with_name("words.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def code_of(text: str, language: str | None = None) -> str | None:
    """The code of the language that a user named, or that a text seems to be written in."""
    code = (language_code(language) or language[:2].lower()) if language else None
    sample = text[:_SAMPLE]
    if not code and any(char in _RUSSIAN for char in sample):
        return "ru"
    return code or recognize(sample) or _script_language(sample) or _language_of_numbers(sample)


def _script_language(sample: str) -> str | None:
    """The language of a text whose words tell none, if its letters do."""
    if any("\u3040" <= char <= "\u30ff" for char in sample):
        return "ja"
    if any("\u4e00" <= char <= "\u9fff" for char in sample):
        return "zh"
    if any("\uac00" <= char <= "\ud7af" for char in sample):
        return "ko"
    if any("\u0400" <= char <= "\u04ff" for char in sample):
        return "uk" if any(char in "іїєґІЇЄҐ" for char in sample) else "ru"
    return None


def _language_of_numbers(sample: str) -> str | None:
    """The language that has the most of a text's words among its numbers and months."""
    words = re.findall(r"[^\W\d_]{3,}", sample.lower())
    hits = {code: sum(word in known for word in words) for code, known in _number_words().items()}
    first, second = sorted(hits, key=hits.__getitem__, reverse=True)[:2]
    return first if hits[first] > hits[second] else None


@cache
def _number_words() -> Mapping[str, frozenset[str]]:
    kinds = ("numbers", "scales", "months", "weekdays", "roughly")
    return {
        code: frozenset(re.split(r"[\s/]", " ".join(table.get(kind, "") for kind in kinds)))
        for code, table in _tables().items()
    }


@cache
def _tables() -> Mapping[str, Mapping[str, Any]]:
    path = Path(__file__).with_suffix(".toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def lexicon(code: str | None) -> Lexicon:
    """The words of a language; for None, the names of months and weekdays of all."""
    tables = _tables()
    own = tables.get(code or "", {})
    words = Lexicon(code, compounds="compounds" in own, reversed="reversed" in own)
    words.unsure = frozenset(own.get("unsure", "").split())
    for table, role in _ROLES.items():
        for word, value in _pairs(own.get(table, "")):
            if word.endswith("*"):
                words.stems[word[:-1]] = Part(role, value)
            else:
                words.parts[word].append(Part(role, value))
    for word in own.get("joins", "").split():
        words.parts[word].append(Part("join"))
    words.parts = dict(words.parts)
    for table in _PHRASES:
        words.phrases[table] = _by_first_word(own.get(table, ""))
    words.sure = _sure(own) - frozenset(own.get("doubtful", "").split())
    for names, table in ((words.months, "months"), (words.weekdays, "weekdays")):
        names.update(_names(own.get(table, ""), shortest=2))
        for other in tables.values():  # a text may name dates in another language
            for name, number in _names(other.get(table, ""), shortest=5).items():
                names.setdefault(name, number)
    return words


def _sure(own: Mapping[str, Any]) -> frozenset[str]:
    groups = f"{own.get('months', '')} {own.get('weekdays', '')}".split()
    forms = (group.split("/") for group in groups)
    return frozenset(
        form
        for first, *more in forms
        for form in (first, *more)
        if form == first or len(form) > 3 or form[0] >= "\u0400"
    )


def _by_first_word(table: str) -> dict[str, frozenset[str]]:
    phrases = [each.rstrip(".") for each in table.split()]
    firsts = {each.split("+")[0] for each in phrases}
    return {
        first: frozenset(each for each in phrases if each.split("+")[0] == first)
        for first in firsts
    }


def _pairs(table: str) -> Iterator[tuple[str, Fraction]]:
    words = table.split()
    for word, value in zip(words[::2], words[1::2], strict=True):
        yield word, Fraction(value)


def _names(table: str, shortest: int) -> dict[str, int]:
    return {
        form: number
        for number, forms in enumerate(table.split(), start=1)
        for form in forms.split("/")
        if len(form) >= shortest
    }
