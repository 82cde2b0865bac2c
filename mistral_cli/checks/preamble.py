"""Removes what a model writes before its answer, such as "Sure, here is the summary:".

A preamble announces the answer, and has a noun that names one and a colon. "Sure, the plan failed."
and "Here is where the river ends." begin an answer, and stay.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MARK = r"[*_#>\s\"\u201c\u00a1]*"
_COLON = r"\s*[*_]*[:\uff1a][*_\"\u201d]*"
_LINE_END = r"[ \t]*\r?\n\s*"
_SAME_LINE = r"[ \t]*(?=\S)(?-i:(?![a-z\u00df-\u00ff\u0430-\u044f]))"  # "is: a lie." goes on
_LONGEST_LINE = 200
_LABEL = re.compile(rf"^[ \t]*[*_#]*\w[\w ]{{0,30}}{_COLON}[ \t]*$", re.MULTILINE)
_CJK = ("zh", "ja", "ko")
_TEXT = "..."  # stands for the text that a preamble announces


def without_preamble(answer: str, source: str = "") -> str:
    """`answer` without the preamble of the model, and without blanks before it.

    Nothing is removed if `source` has a preamble of its own, or begins with a line that ends in a
    colon: a translation has it too. An answer that is nothing but a preamble is returned as it is.
    """
    text = answer.lstrip()
    first_line = source.strip().partition("\n")[0].rstrip(" \t*_")
    if first_line.endswith((":", "\uff1a")) or (source and _end_of_preamble(source.lstrip())):
        return text
    while end := _end_of_preamble(text):
        text = text[end:]
    return text


def is_only_preamble(answer: str, source: str = "") -> bool:
    """True if an answer announces a text that does not follow."""
    text = answer.strip()
    if not text.rstrip(" *_").endswith((":", "\uff1a")):
        return False
    return without_preamble(f"{text}\n\n{_TEXT}", source) == _TEXT


def may_become_preamble(start: str) -> bool:
    """True if an answer that begins with `start` may turn out to have a preamble.

    False as soon as its first line is complete, so that the answer can be printed.
    """
    line = _folded(start)
    if "\n" in line or len(line) > _LONGEST_LINE:
        return False
    return any(line.startswith(word) or word.startswith(line) for word in _openers())


def _end_of_preamble(text: str) -> int:
    """Where the preamble of a text ends; 0 without one, or if nothing follows it."""
    head = text[: 4 * _LONGEST_LINE].replace("\u2019", "'")
    line = _folded(head)
    if not line.startswith(_opening_words()):  # nearly always: 1 µs, where the loop takes 40
        return 0
    codes = {code for word, codes in _openers().items() if line.startswith(word) for code in codes}
    for pattern in (pattern for code in sorted(codes) for pattern in _patterns(code)):
        if match := pattern.match(head):
            alone = match.lastgroup == "label" and len(_LABEL.findall(text)) > 1
            return 0 if alone or not text[match.end() :].strip() else match.end()
    return 0


def _folded(text: str) -> str:
    folded = re.sub(rf"\A{_MARK}", "", text).casefold().replace("\u2019", "'")
    return folded.replace("i\u0307", "i")  # the Turkish capital


@dataclass(frozen=True)
class _Phrases:
    """The phrases of one language; the fields are those of the file."""

    agree: str
    offer: str
    announce: str
    sure: str
    doubtful: str
    of: str
    lead: str
    is_: str


@cache
def _languages() -> dict[str, _Phrases]:
    table = tomllib.loads(Path(__file__).with_name("preambles.toml").read_text(encoding="utf-8"))
    return {
        code: _Phrases(**{("is_" if key == "is" else key): value for key, value in each.items()})
        for code, each in table.items()
    }


@cache
def _openers() -> dict[str, frozenset[str]]:
    """The words that a preamble begins with, and the codes of their languages."""
    words: dict[str, frozenset[str]] = {}
    for code, each in _languages().items():
        for alternatives in (each.agree, each.offer, each.announce, each.lead, each.sure):
            for word in filter(None, map(_literal, _top_level(alternatives))):
                words[word] = words.get(word, frozenset()) | {code}
    return words


@cache
def _opening_words() -> tuple[str, ...]:
    return tuple(_openers())


def _top_level(alternatives: str) -> Iterator[str]:
    depth, phrase = 0, ""
    for character in alternatives:
        depth += (character == "(") - (character == ")")
        if character == "|" and not depth:
            yield phrase
            phrase = ""
        else:
            phrase += character
    yield phrase


def _literal(phrase: str) -> str:
    """The letters that a phrase begins with, less one that may be missing."""
    literal = re.match(r"[\w' -]*", phrase)
    text = literal[0] if literal else ""
    optional = phrase[len(text) : len(text) + 1] == "?"
    return (text[:-1] if optional else text).casefold()


@cache
def _patterns(code: str) -> list[re.Pattern[str]]:
    """The forms in one language; those of all take 0.25 s to compile."""
    forms = _forms(_languages()[code], spaced=code not in _CJK)
    return [re.compile(form, re.IGNORECASE) for form in forms]


def _forms(each: _Phrases, *, spaced: bool) -> Iterator[str]:
    """The forms of a preamble in one language."""
    edge, end = (r"(?!\w)", "") if spaced else ("", r"|\u3002")
    before = r"(?<!\w)" if spaced else ""
    gap, rest = r"[^\n:\uff1a.!?\u3002]{0,60}?", r"[^\n:\uff1a!?\u3002]{0,120}?"
    agree = rf"{_MARK}(?:{each.agree}){edge}[!,.:;\u2026\u3002\uff01\uff0c\u3001\s\u2013\u2014-]+"
    offer = rf"(?:(?:{each.offer}){edge}[^\n:]{{0,90}}?[!.,:;](?=\s)\s*)?"
    sure = rf"(?:{each.announce}){edge}{gap}{before}(?:{each.sure}){edge}"
    any_noun = rf"(?:{each.announce}){edge}{gap}{before}(?:{each.sure}|{each.doubtful}){edge}"
    of = rf"(?:\s+(?:{each.of}){edge})*" if each.of else (r"[\w\s]{0,12}?")
    lead = rf"(?:{each.lead}){edge}{of}\s*(?:{each.is_}){edge}"
    colon = rf"(?:{_COLON}{end})"
    # After agreement, any announcement on a line of its own; on the same line, only a short one.
    yield rf"{agree}{offer}{any_noun}{rest}{colon}{_LINE_END}"
    yield rf"{agree}{offer}{any_noun}{of}{_COLON}{_SAME_LINE}"
    yield rf"(?:{agree})?{offer}{lead}{colon}(?:{_LINE_END}|{_SAME_LINE})"
    # Without it, a noun that names an answer.
    yield rf"{_MARK}{offer}{sure}{rest}{colon}{_LINE_END}"
    yield rf"{_MARK}{offer}{sure}{of}{_COLON}{_SAME_LINE}"
    yield rf"(?P<label>{_MARK}(?:{each.sure}){edge}{of}{_COLON}{_LINE_END})"
    # Agreement or an offer alone, on a line of its own before a blank line.
    alone = r"[!.\uff01\u3002]*[*_]*[ \t]*\r?\n[ \t]*\r?\n\s*"
    yield rf"(?:{agree})(?:{each.offer}){edge}[^\n:]{{0,90}}?[!.\uff01\u3002:]{alone}"
    yield rf"{_MARK}(?:{each.agree}){edge}[!\uff01]{alone}"
