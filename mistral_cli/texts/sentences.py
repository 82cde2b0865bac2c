"""Counts sentences."""

from __future__ import annotations

import re
from itertools import pairwise

_ITEM = re.compile(r"\s*(?:[-*+\u2022\u2013]|\d{1,3}[.)]|#{1,6})\s+")
_MARKS = re.compile(r"[*_`~]+")  # Markdown that would hide a full stop before a space

# The library misses a sentence's end after words that are also abbreviations, and after these
# stops. It knows a hundred languages, so a regular expression could not replace it.
_WORDS = "[Mm]e|[Nn]o|[Oo][Kk]|ill|id|re|may|art|arc|ref|fed|med"
_CLOSING = "[\"'\u201d\u2019\u00bb]*"
_JOINED = re.compile(
    rf"(?:\b(?:{_WORDS})\.{_CLOSING}(?=\s+[^\W\d])|[.!?\u2026][)\]]{_CLOSING}|\u2026{_CLOSING})"
    r"\s+(?=[\"'(\u201c\u201e\u00ab\u2018]?[^\W_a-z])"
)
# It sees an end where there is none: between a title and a name that is also a word.
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Capt|Lt|Sgt|Rev|Gov|Sen|Rep|Mt)\.\s+\Z")


def count_sentences(text: str, language: str = "en") -> int:
    """Count the sentences of `text`; `language` is a code such as "en" or "de".

    A heading or a list item counts as at least one sentence, even without a full stop. Any other
    line continues the line before it.
    """
    import sentencex

    sentences = (
        sentence
        for line in _unwrapped(text)
        for segment in sentencex.segment(language, line)
        for sentence in _split_joined(segment)
    )
    return sum(any(map(str.isalnum, each)) and not _TITLE.search(each) for each in sentences)


def _unwrapped(text: str) -> list[str]:
    """Return the paragraphs, headings and list items of `text`, one line each, without marks."""
    result: list[str] = []
    continues = False
    for line in text.splitlines():
        item = _ITEM.match(line)
        words = _MARKS.sub("", line[item.end() :] if item else line).strip()
        if continues and words and not item:
            result[-1] += f" {words}"
        elif words:
            result.append(words)
        continues = bool(words) and not line.lstrip().startswith("#")
    return result


def _split_joined(segment: str) -> list[str]:
    """Split a segment where the library missed a sentence's end."""
    cuts = [0, *(end.end() for end in _JOINED.finditer(segment)), len(segment)]
    return [segment[start:end] for start, end in pairwise(cuts)]
