"""Terms: what the words of two sentences are compared by, in any language.

A word is folded (no case, no accents) and cut to a stem. Scripts without blanks between words, and
Hangul, whose particles are part of the word, give pairs of successive characters instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from mistral_cli.checks.facts.names import folded
from mistral_cli.texts.languages import language_rules

_UNSPACED = (
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u103e\u1780-\u17d3\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_SIGNS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff"  # not in \w
_PIECE = re.compile(
    rf"(?P<word>[^\W_{_UNSPACED}]+(?:[{_SIGNS}]+[^\W_{_UNSPACED}]*)*)"
    rf"|(?P<run>[{_UNSPACED}]+)"
    r"|(?P<paragraph>\n[ \t\r]*\n\s*)"
    r"|(?P<stop>\n(?=[ \t]*[-*+|\[\d\u2022])"
    r"|[.!?\u2026\u061f\u06d4\u0964\u0965]+(?=\s)|[\u3002\uff01\uff1f\uff61])"
)
_ENDING = re.compile(
    r"(?<=\w{3})(?:ings?|ied|ies|edly|ed|es|ers?|en|em|ly|s"
    r"|\u043e\u0433\u043e|\u0435\u043c\u0443|\u0430\u043c\u0438|\u044f\u043c\u0438"
    r"|[\u043e\u0435\u044b\u0438][\u0439\u043c\u0445\u0435]|[\u0430\u044f][\u043c\u0445\u044f]|[\u0443\u044e]\u044e"
    r"|[\u043e\u0435]\u0432)\Z"
)
_LAST_VOWEL = re.compile(
    "(?<=\\w{3})[aeiouy\u0430\u0435\u0438\u043e\u0443\u044b\u044e\u044f\u044c]\\Z"
)
_LAST_S = re.compile(r"(?<=\w{3})s\Z")  # "Haus" as "Hauses"
_DOUBLE = re.compile(r"([^\W\d_])\1\Z")
_ARTICLE = re.compile("\\A\u0648?\u0627\u0644(?=\\w{3})")  # "al-", "wa-l-" of Arabic
_LONGEST_STEM = 6
_SHORTEST_WORD = 3

# Beside the words that open sentences (languages.toml): they say little in any sentence.
_SMALL = """
of to with that which who whom whose be been being will would may must shall should can into than
such those them any other others about over out only more very there then just not its their our
do does did done has have had having per via between under within
von zu mit werden wird wurde wurden sich sind aus durch zum zur hat haben sein hatte einem nur
que qui sur une pour par ont sont etre ete avec dans cette
con los las del ser han una uno sus esta
della delle degli nella sono che una
het een van zijn aan door naar heeft hebben worden wordt
""".split()  # noqa: SIM905


class Term(NamedTuple):
    """A term, and where it begins in its text."""

    key: str
    start: int


class Break(NamedTuple):
    """The end of a paragraph, a full stop that may end a sentence, or a line before a list item.

    `end` is where the next one begins.
    """

    paragraph: bool
    end: int


def terms_of(text: str) -> Iterator[Term | Break]:
    """The terms of a text in their order, with the places where sentences may end."""
    for match in _PIECE.finditer(text):
        kind = match.lastgroup
        if kind == "word":
            yield Term(stem(match[0]), match.start())
        elif kind == "run":
            run, start = match[0], match.start()
            for at in range(max(len(run) - 1, 1)):
                yield Term(run[at : at + 2], start + at)
        else:
            yield Break(kind == "paragraph", match.end())


def is_unspaced(key: str) -> bool:
    """True for a term of a script without blanks: a pair of characters."""
    return len(key) <= 2 and re.match(rf"[{_UNSPACED}]", key) is not None


@cache
def stem(word: str) -> str:
    """The stem of a word, the same for most of its forms; a word with a digit stays whole.

    It is not a word: "decided" and "deciding" are "decid". At most six letters count, which is
    how truncation finds compounds and derivations in many languages at once.
    """
    word = folded(word)
    if not word.isalpha() and any(map(str.isdigit, word)):
        return word
    word = _ARTICLE.sub("", word)
    word = _LAST_S.sub("", _LAST_VOWEL.sub("", _ENDING.sub("", word)))
    return _DOUBLE.sub(r"\1", word)[:_LONGEST_STEM]


@cache
def small_stems(code: str | None) -> frozenset[str]:
    """The stems of the words that say little, of the language with that code (None: of all)."""
    return frozenset(map(stem, (*language_rules(code).openers, *_SMALL)))


def is_small(key: str, code: str | None) -> bool:
    """True for the stem of an article, a preposition and the like."""
    if is_unspaced(key) or key.isdigit():
        return False
    return len(key) < _SHORTEST_WORD or key in small_stems(code)
