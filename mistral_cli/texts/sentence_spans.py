"""The places of the sentences of a text, in the likely reading of its full stops."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mistral_cli.texts.languages import recognize
from mistral_cli.texts.markdown import blocks_without_prose
from mistral_cli.texts.sentences import Sentences
from mistral_cli.texts.spans import Span, stripped
from mistral_cli.texts.structure import detect_format

_MARKER = re.compile(r"(?:#{1,6}|[-*+\u2022\u2013>]|\(?\d{1,3}[.)]|\|)[ \t]+")
_LINK = re.compile(
    r"!?\[(?:\\.|[^\[\]\\])*\](?:\([^()\s]*[^()]*\)|\[[^\]]*\])|<?https?://\S+|<[a-z/][^<>]*>"
)
_WORD = re.compile(r"\S*\w\S*")
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


def full_sentences(text: str, source: str = "", language: str | None = None) -> list[Span]:
    """The sentences of `text` that say something: without headings, labels and single words.

    Nor are code, tables and mere links sentences; `source` may be a file in Markdown. If the text
    has no full sentence, its headings, labels and single words.
    """
    spans = list(_prose_sentences(text, source, language))
    return [span for span in spans if _is_full(text, span)] or spans


def _prose_sentences(text: str, source: str, language: str | None) -> Iterator[Span]:
    in_markdown = detect_format(source, text) == "markdown"
    language = language or recognize(text)
    start = 0
    end = Span(len(text), len(text))
    for block in (*blocks_without_prose(text, in_markdown=in_markdown), end):
        for span in sentence_spans(text[start : block.start], language):
            yield Span(start + span.start, start + span.end)
        start = max(start, block.end)


def _is_full(text: str, span: Span) -> bool:
    words = _LINK.sub(" ", text[span.start : span.end])
    line = text[text.rfind("\n", 0, span.start) + 1 : span.start]
    if line.lstrip().startswith("#"):
        return False
    letters = sum(map(str.isalpha, words))
    unspaced = letters >= _LEAST_LETTERS and not words.isascii()
    return letters > 0 and (len(_WORD.findall(words)) >= _LEAST_WORDS or unspaced)
