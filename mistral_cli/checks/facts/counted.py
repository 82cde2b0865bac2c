"""The things that a text counts, and counts of an answer that belong to another thing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.checks.facts.facts import Fact, Quantity
from mistral_cli.checks.facts.lexicon import Lexicon, small_words
from mistral_cli.texts.languages import language_rules

if TYPE_CHECKING:
    from mistral_cli.checks.facts.reader import FactText

_NEXT_WORD = re.compile(r"[ \n-]([^\W\d_]+)")
_MOST_WORDS = 3  # "eleven large broken lamps"
_ANY_NOUN = r"\w{4,}"
_NOUNS = {
    "en": r"\w{2,}(?<!s)s|people|men|women|children",
    "de": r"[A-Z\u00c4\u00d6\u00dc]\w+",
    "fr": r"\w{3,}[sx]",
    "es": r"\w{3,}s",
    "pt": r"\w{3,}s",
    "it": r"\w{2,}[ie]",
    "nl": r"\w{2,}(?:en|s)",
    "pl": r"\w{4,}(?<!ło|ły|li|ła|ją)(?<!ć)",
    "ru": r"\w{4,}(?<!ло|ли|ла|ют|ут|ят|ат|ть|ся|сь)",
}
"""What a noun after a number looks like: "12 passed" does not say what passed."""

_IDEOGRAPHIC = {
    "zh": r"([\u4e00-\u9fff]{2})",  # a measure word and the noun's first character
    "ja": r"[\u4e00-\u9fff\u3040-\u30ff]{0,2}の([\u4e00-\u9fff\u30a0-\u30ff]{1,6})",
}
_MOST_COUNTS = 20  # of one thing: their sums and differences give almost any number
_NEAR = 160  # characters: about a long sentence


class Count(NamedTuple):
    """A number, and the words after it that may be what it counts. The first ends at `end`."""

    fact: Fact
    value: Fraction
    nouns: tuple[str, ...]
    end: int


class CountedThings:
    """The things that a text counts."""

    def __init__(self, source: FactText) -> None:
        self._source = source
        self._by_noun: dict[str, list[Count]] = defaultdict(list)
        self._by_value: dict[Fraction, list[Count]] = defaultdict(list)
        self._uncounted: set[Fraction] = set()  # years, ordinals, and what ends a sentence: "11."
        self._things: dict[str, list[Count]] = {}
        for fact in source.facts:
            if count := count_at(source, fact):
                for noun in count.nouns:
                    self._by_noun[noun[:3]].append(count)
                self._by_value[count.value].append(count)
            elif fact.check == "numbers" and isinstance(atom := fact.readings[0][0], Quantity):
                self._uncounted.add(atom.value)

    def of(self, noun: str) -> list[Count]:
        """The counts of a thing in the text, in its order."""
        if noun not in self._things:
            counts = self._by_noun.get(noun[:3], ())
            self._things[noun] = [
                each for each in counts if any(_is_same(noun, other) for other in each.nouns)
            ]
        return self._things[noun]

    def has(self, count: Count) -> bool:
        """True if the text counts a thing of an answer; "people" may be any of them."""
        noun = count.nouns[0]
        return noun not in small_words("general") and bool(self.of(noun))

    def contradicting(self, count: Count) -> Count | None:
        """The text's own count of a thing to which an answer gives the number of another thing.

        That of the lamps for "eleven lamps", if the text has "eleven planks and two lamps". To be
        sure, the text must have the number beside other nouns alone, one of them near the count of
        the thing. And it must be larger, or the two be listed: of 40 guests, 12 women may be "12
        guests".
        """
        noun = count.nouns[0]
        own = self.of(noun)
        if len(own) > _MOST_COUNTS:
            return None
        values = {each.value for each in own}
        if (
            noun in small_words("general")
            or count.value < 2
            or count.value in values
            or count.value in self._uncounted
            or _follows(count.value, values)
        ):
            return None
        holders = self._by_value.get(count.value, [])
        if not all(each.nouns or _has_unit(each.fact) for each in holders):
            return None
        pairs = ((holder, other) for holder in holders for other in own)
        return next((other for holder, other in pairs if self._exclude(holder, other)), None)

    def _exclude(self, one: Count, other: Count) -> bool:
        """True if two counts of the text are of different things."""
        first, second = sorted((one, other), key=lambda each: each.fact.start)
        between = self._source.prepared[first.fact.end : second.fact.start]
        if len(between) > _NEAR:
            return False
        words = between.replace(",", " ").split()
        lists = self._source.lexicon.phrases["lists"]
        listed = len(words) <= _MOST_WORDS + 1 and words[-1:] and words[-1].lower() in lists
        return one.value > other.value or bool(listed) or between[-1:] in tuple("和与及と、")


def count_at(text: FactText, fact: Fact) -> Count | None:
    """The number that a fact is, with the words after it that may say what it counts."""
    atom = fact.readings[0][0]
    if fact.check != "numbers" or not fact.counts or not isinstance(atom, Quantity):
        return None
    if atom.units:
        return Count(fact, atom.value, (), fact.end)
    code = text.lexicon.code
    if pattern := _IDEOGRAPHIC.get(code or ""):
        match = re.compile(pattern).match(text.prepared, fact.end)
        nouns = (match[1],) if match else ()
        return Count(fact, atom.value, nouns, match.end() if match else fact.end)
    words = [*_words_after(text.prepared, fact.end, text.lexicon)]
    pattern = _NOUNS.get(code or "", _ANY_NOUN) if atom.value != 1 else _ANY_NOUN
    found = [word for word in words if re.fullmatch(pattern, word[0])]
    return Count(
        fact,
        atom.value,
        tuple(word[0].lower() for word in found),
        found[0][1] if found else fact.end,
    )


def _words_after(text: str, at: int, lexicon: Lexicon) -> Iterator[tuple[str, int]]:
    """The next words and where they end, until one that belongs to no noun phrase."""
    stops = language_rules(lexicon.code).openers
    for _ in range(_MOST_WORDS):
        match = _NEXT_WORD.match(text, at)
        if not match or match[1].lower() in stops or match[1].lower() in lexicon.phrases["lists"]:
            return
        at = match.end()
        yield match[1], at


def _is_same(noun: str, other: str) -> bool:
    """True for two forms of a noun: "lamp" and "lamps", "planche" and "planches"."""
    if noun == other:
        return True
    shared = next(
        (at for at, (one, two) in enumerate(zip(noun, other, strict=False)) if one != two),
        min(len(noun), len(other)),
    )
    longest = max(len(noun), len(other))
    return shared >= max(3, min(len(noun), len(other)) - 2) and longest - shared <= 3


def _has_unit(fact: Fact) -> bool:
    atom = fact.readings[0][0]
    return isinstance(atom, Quantity) and bool(atom.units)


def _follows(value: Fraction, values: set[Fraction]) -> bool:
    """True if a value is the sum of others or the difference of two."""
    return value == sum(values) or any(
        value in (one + other, one - other) for one in values for other in values if one != other
    )
