"""The lengths that a user may ask for: sentences, bullet points, words, characters.

Each length checks a text, and cuts one that is too long where a sentence or bullet point ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from mistral_cli.checks.form import (
    check_bullets,
    check_characters,
    check_sentences,
    check_words,
)
from mistral_cli.errors import UsageError
from mistral_cli.generation.checking.wording import counted
from mistral_cli.texts.sentences import Sentences

if TYPE_CHECKING:
    from mistral_cli.checks.check import Check

_RANGE = re.compile(r"(\d{1,6})(?:\s*[-\u2013]\s*(\d{1,6}))?")

# "About N words" holds from N - 20 % to N + 20 %, and within two words of N in any case.
_TOLERANCE, _LEAST_TOLERANCE = 0.2, 2
_LEAST_CHARACTERS = 2  # of a sentence or bullet point


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


@dataclass(frozen=True)
class SentenceLength:
    """Exactly `number` sentences."""

    number: int
    language: str | None = None
    name: str = "sentences"

    @property
    def expected(self) -> str:
        """The number with its unit."""
        return f"exactly {counted(self.number, self.name)}"

    def check(self, text: str) -> Check:
        """True if some reading of the text has exactly that number."""
        return check_sentences(text, self.number, self.language)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """The text up to the end of the last sentence that may stay."""
        sentences = Sentences.of(text.strip(), self.language)
        return sentences.first(self.number, complete=complete)


@dataclass(frozen=True)
class BulletLength:
    """Exactly `number` bullet points."""

    number: int
    name: str = "bullets"

    @property
    def expected(self) -> str:
        """The number with its unit."""
        return f"exactly {counted(self.number, self.name)}"

    def check(self, text: str) -> Check:
        """Count the lines that begin like an item of a list."""
        return check_bullets(text, self.number)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """The text up to the end of the last bullet point that may stay."""
        lines = text.strip().splitlines(keepends=True)
        heads = accumulate(lines if complete else lines[:-1])
        return next((head.rstrip() for head in heads if self.check(head).ok), None)


@dataclass(frozen=True)
class WordLength:
    """From `least` to `most` words."""

    least: int
    most: int
    language: str | None = None
    name: str = "words"

    @property
    def expected(self) -> str:
        """The range with its unit."""
        return f"{self.least} to {self.most} words"

    def check(self, text: str) -> Check:
        """Count the words."""
        return check_words(text, self.least, self.most)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """The most whole sentences that are within the range."""
        return _whole_sentences(self, text, self.language, complete)


@dataclass(frozen=True)
class CharacterLength:
    """At most `most` characters."""

    most: int
    language: str | None = None
    name: str = "characters"

    @property
    def expected(self) -> str:
        """The limit with its unit."""
        return f"at most {counted(self.most, self.name)}"

    def check(self, text: str) -> Check:
        """Count the characters, without the blanks around the text."""
        return check_characters(text, self.most)

    def cut(self, text: str, *, complete: bool = True) -> str | None:
        """The most whole sentences that fit."""
        return _whole_sentences(self, text, self.language, complete)


def lengths_of(values: Mapping[str, Any]) -> tuple[Length, ...]:
    """The lengths that a task's values ask for."""
    language, lengths = values.get("language"), list[Length]()
    if number := values.get("sentences"):
        lengths.append(SentenceLength(number, language))
    if number := values.get("bullets"):
        lengths.append(BulletLength(number))
    if words := values.get("words"):
        lengths.append(WordLength(*word_range(str(words)), language))
    if most := values.get("max_chars"):
        lengths.append(CharacterLength(most, language))
    return tuple(lengths)


def check_possible(values: Mapping[str, Any]) -> None:
    """Refuse lengths that no text has together. Raises UsageError."""
    unit = "sentences" if values.get("sentences") else "bullets"
    units, words, most = values.get(unit) or 0, values.get("words"), values.get("max_chars")
    least_words, most_words = word_range(str(words)) if words else (0, 0)
    wrong = None
    if words and units > most_words:
        wrong = f"{counted(units, unit)} cannot have {most_words} words"
    elif most and _LEAST_CHARACTERS * units > most:
        wrong = f"{counted(units, unit)} cannot have {counted(most, 'characters')}"
    elif most and least_words > most:  # a Chinese word may be one character
        wrong = f"{counted(least_words, 'words')} cannot have {counted(most, 'characters')}"
    if wrong:
        raise UsageError(wrong, hint="Change or drop one of the options.")


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


def _whole_sentences(length: Length, text: str, language: str | None, complete: bool) -> str | None:
    """As many of the first sentences as the `length` admits; None if it admits none."""
    sentences = Sentences.of(text.strip(), language)
    heads = (sentences.first(number, complete=complete) for number in range(sentences.count, 0, -1))
    return next((head for head in heads if head and length.check(head).ok), None)
