"""How many sentences a text has."""

from __future__ import annotations

import re
from itertools import pairwise

_ITEM = re.compile(r"\s*(?:[-*+\u2022\u2013]|\d{1,3}[.)]|#{1,6})\s+")
_MARKS = re.compile(r"[*_`~]+")  # of Markdown; between a stop and a space they hide the stop

# Where the library sees no end: after words that are also short for others, and after these
# stops. No regular expression of ours could do its part for a hundred languages.
_WORDS = "[Mm]e|[Nn]o|[Oo][Kk]|ill|id|re|may|art|arc|ref|fed|med"
_CLOSING = "[\"'\u201d\u2019\u00bb]*"
_JOINED = re.compile(
    rf"(?:\b(?:{_WORDS})\.{_CLOSING}(?=\s+[^\W\d])|[.!?\u2026][)\]]{_CLOSING}|\u2026{_CLOSING})"
    r"\s+(?=[\"'(\u201c\u201e\u00ab\u2018]?[^\W_a-z])"
)
# Where it sees one that is none: between a title and a name that is also a word.
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Capt|Lt|Sgt|Rev|Gov|Sen|Rep|Mt)\.\s+\Z")


def count_sentences(text: str, language: str = "en") -> int:
    """How many sentences `text` has; `language` is a code such as "en" or "de".

    A heading or an item of a list is at least one, whether or not it ends with a stop. Lines
    without such a mark go on the sentence of the line before.
    """
    import sentencex

    pieces = (
        piece
        for line in _unwrapped(text)
        for segment in sentencex.segment(language, line)
        for piece in _apart(segment)
    )
    return sum(any(map(str.isalnum, piece)) and not _TITLE.search(piece) for piece in pieces)


def _unwrapped(text: str) -> list[str]:
    """The paragraphs, headings and items of `text`, a line each and without their marks."""
    result: list[str] = []
    goes_on = False
    for line in text.splitlines():
        item = _ITEM.match(line)
        words = _MARKS.sub("", line[item.end() :] if item else line).strip()
        if goes_on and words and not item:
            result[-1] += f" {words}"
        elif words:
            result.append(words)
        goes_on = bool(words) and not line.lstrip().startswith("#")
    return result


def _apart(segment: str) -> list[str]:
    """The sentences of a segment in which the library did not see the end of the first."""
    cuts = [0, *(end.end() for end in _JOINED.finditer(segment)), len(segment)]
    return [segment[start:end] for start, end in pairwise(cuts)]
