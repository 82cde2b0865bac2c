"""The places of the sentences of a text, in the likely reading of its full stops."""

from __future__ import annotations

import re

from mistral_cli.texts.sentences import Sentences
from mistral_cli.texts.spans import Span, stripped

_MARKER = re.compile(r"(?:#{1,6}|[-*+\u2022\u2013>]|\(?\d{1,3}[.)]|\|)[ \t]+")
_LEAST_WORDS, _LEAST_LETTERS = 3, 8  # letters: in scripts without spaces


def sentence_spans(text: str, language: str | None = None) -> list[Span]:
    """The sentences of `text`, without the markers of lists and headings before them."""
    spans, start = [], 0
    for end in (*Sentences.of(text, language).likely_ends, len(text)):
        span = stripped(text, start, end)
        while marker := _MARKER.match(text, span.start, span.end):
            span = stripped(text, marker.end(), span.end)
        if any(map(str.isalnum, text[span.start : span.end])):
            spans.append(span)
            start = end
    return spans


def full_sentences(text: str, language: str | None = None) -> list[Span]:
    """The sentences that say something: without headings, labels and single words.

    If the text has no others, all of them.
    """
    spans = sentence_spans(text, language)
    return [span for span in spans if _is_full(text, span)] or spans


def _is_full(text: str, span: Span) -> bool:
    words = text[span.start : span.end]
    line = text[text.rfind("\n", 0, span.start) + 1 : span.start]
    if line.lstrip().startswith("#"):
        return False
    letters = sum(map(str.isalpha, words))
    unspaced = letters >= _LEAST_LETTERS and not words.isascii()
    return letters > 0 and (len(words.split()) >= _LEAST_WORDS or unspaced)
