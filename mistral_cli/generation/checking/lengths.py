"""The lengths that a user may ask for: sentences, bullet points, words, characters.

Each length checks a text, and cuts one that is too long where a sentence or bullet point ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Protocol

from mistral_cli.checks.check import Check
from mistral_cli.errors import UsageError
from mistral_cli.texts.sentences import Sentences

_BULLET = re.compile(r"^\s*(?:[-*•\u2013]|\d+[.)])\s+\S", re.MULTILINE)
_RANGE = re.compile(r"(\d{1,6})(?:\s*[-\u2013]\s*(\d{1,6}))?")

# "About N words" holds from N - 20 % to N + 20 %, and within two words of N in any case.
_TOLERANCE, _LEAST_TOLERANCE = 0.2, 2


class Length(Protocol):
    """One constraint on the length of an answer."""

    @property
    def name(self) -> str:
        """The unit, which is the name of the check."""

    @property
    def expected(self) -> str:
        """What the answer must have, for a request and a message: "exactly 2 sentences"."""

    def check(self, text: str) -> Check:
        """Count the units of a complete text."""

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """Shorten a text that is too long; None if it is too short or cannot be cut.

        If the text is not `complete`, its last unit is unfinished and does not count.
        """


class Units(Protocol):
    """The sentences or bullet points of a text."""

    @property
    def count(self) -> int:
        """Their number."""

    @property
    def possible(self) -> set[int]:
        """Every number that some reading of the text has."""

    def first(self, number: int, *, complete: bool = True) -> str | None:
        """The first `number` of them; None if there are fewer."""


@dataclass(frozen=True)
class ExactLength:
    """Exactly `number` sentences or bullet points; `units` finds them in a text."""

    number: int
    name: str
    units: Callable[[str], Units]

    @property
    def expected(self) -> str:
        """The number with its unit."""
        return f"exactly {counted(self.number, self.name)}"

    def check(self, text: str) -> Check:
        """True if some reading of the text has exactly that number."""
        units = self.units(text)
        ok = self.number in units.possible
        return Check(self.name, ok, self.number, self.number if ok else units.count)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """The text up to the end of the last unit that may stay."""
        return self.units(text.strip()).first(self.number, complete=complete)


@dataclass(frozen=True)
class WordLength:
    """From `least` to `most` words."""

    least: int
    most: int
    language: str | None = None

    @property
    def name(self) -> str:
        """The unit."""
        return "words"

    @property
    def expected(self) -> str:
        """The range with its unit."""
        return f"{_range(self.least, self.most)} words"

    def check(self, text: str) -> Check:
        """Count the words."""
        found = count_words(text)
        ok = self.least <= found <= self.most
        return Check("words", ok, _range(self.least, self.most), found)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """The most whole sentences that are within the range."""
        return next(filter(self._holds, _heads(text, self.language, complete)), None)

    def _holds(self, text: str) -> bool:
        return self.check(text).ok


@dataclass(frozen=True)
class CharacterLength:
    """At most `most` characters."""

    most: int
    language: str | None = None

    @property
    def name(self) -> str:
        """The unit."""
        return "characters"

    @property
    def expected(self) -> str:
        """The limit with its unit."""
        return f"at most {counted(self.most, 'characters')}"

    def check(self, text: str) -> Check:
        """Count the characters, without the blanks around the text."""
        found = len(text.strip())
        return Check("characters", found <= self.most, self.most, found)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """The most whole sentences that fit."""
        heads = _heads(text, self.language, complete)
        return next((head for head in heads if len(head) <= self.most), None)


@dataclass(frozen=True)
class BulletPoints:
    """The lines of `text` that start like an item of a list."""

    text: str

    @property
    def count(self) -> int:
        """Their number."""
        return len(_BULLET.findall(self.text))

    @property
    def possible(self) -> set[int]:
        """Their number: there is no doubt."""
        return {self.count}

    def first(self, number: int, *, complete: bool = True) -> str | None:
        """The text up to the end of the first `number` bullet points; None if there are fewer."""
        lines = self.text.splitlines(keepends=True)
        ends = accumulate(lines if complete else lines[:-1])
        return next((e.rstrip() for e in ends if BulletPoints(e).count == number), None)


def lengths_of(values: Mapping[str, Any]) -> tuple[Length, ...]:
    """The lengths that a task's values ask for."""
    language, lengths = values.get("language"), list[Length]()
    if number := values.get("sentences"):
        find = partial(Sentences.of, language=language)
        lengths.append(ExactLength(number, "sentences", find))
    if number := values.get("bullets"):
        lengths.append(ExactLength(number, "bullets", BulletPoints))
    if words := values.get("words"):
        lengths.append(WordLength(*word_range(str(words)), language))
    if most := values.get("max_chars"):
        lengths.append(CharacterLength(most, language))
    return tuple(lengths)


def word_range(value: str) -> tuple[int, int]:
    """The least and the most words that "N", "A-B" or "A to B" admits. Raises UsageError."""
    match = _RANGE.fullmatch(value.replace(" to ", "-").strip())
    first, last = (int(each or 0) for each in match.groups()) if match else (0, 0)
    if first and not last:
        tolerance = max(round(first * _TOLERANCE), _LEAST_TOLERANCE)
        return max(first - tolerance, 1), first + tolerance
    if not 0 < first <= last:
        raise UsageError(
            f"--words cannot be {value!r}", hint="Write a number or a range, such as 60 or 50-70."
        )
    return first, last


def count_words(text: str) -> int:
    """The number of words of a text."""
    return len(text.split())


def counted(number: int | str, name: str) -> str:
    """A number with its unit, such as "1 bullet point"."""
    unit = {"bullets": "bullet points"}.get(name, name)
    return f"{number} {unit.removesuffix('s') if number == 1 else unit}"


def _range(least: int, most: int) -> str:
    return f"{least} to {most}"


def _heads(text: str, language: str | None, complete: bool) -> Iterator[str]:
    """The text without its last sentence, without its last two, and so on."""
    sentences = Sentences.of(text.strip(), language)
    for number in range(sentences.count, 0, -1):
        if head := sentences.first(number, complete=complete):
            yield head
