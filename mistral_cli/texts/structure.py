"""Splits a text into segments to translate, and checks that a translation kept the markup."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from mistral_cli.texts.markdown import markdown_spans
from mistral_cli.texts.markup import changed_markup, has_words
from mistral_cli.texts.subtitles import TIMING, subtitle_spans

TextFormat = Literal["text", "markdown", "subtitles"]

_BY_NAME: dict[str, TextFormat] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".srt": "subtitles",
    ".vtt": "subtitles",
}
_SUBTITLES = re.compile(rf"\ufeff?(?:WEBVTT(?:\s|\Z)|\s*(?:\d+[ \t]*\r?\n)?{TIMING})")
_MARKDOWN = [  # two must match: a script has comments like headings, an e-mail may have a link
    re.compile(r"^ {0,3}#{1,6} \S.*\n(?:.*\n)*? {0,3}#{1,6} \S", re.MULTILINE),
    re.compile(r"^ {0,3}(```|~~~).*\n(?:.*\n)*? {0,3}\1", re.MULTILINE),
    re.compile(r"\[[^\]\n]+\]\([^)\s]+\)(?:.*\n)+?.*\[[^\]\n]+\]\([^)\s]+\)"),
    re.compile(r"^\|?[ \t]*:?-{3,}:?[ \t]*\|[-| :\t]*$", re.MULTILINE),
]
_SAMPLE = 100_000  # characters that decide the format

_PARAGRAPH = re.compile(r"\S(?:.*(?:\r?\n[ \t]*(?=[^\s]))?)*")

_SHORT_TEXT = 60  # characters; the two ratios apply to longer texts only
_MAX_GROWTH = 3
_MAX_SHRINKAGE = 5


@dataclass(frozen=True)
class Segment:
    """A part of a document; all segments together are the document, to the character."""

    text: str
    translate: bool


def segments(text: str, text_format: TextFormat) -> list[Segment]:
    """Split `text` into the segments to translate and those that stay as they are."""
    spans = {"text": _paragraphs, "markdown": markdown_spans, "subtitles": subtitle_spans}
    result: list[Segment] = []
    end = 0
    for span in spans[text_format](text):
        if has_words(text[span[0] : span[1]]):
            if end < span[0]:
                result.append(Segment(text[end : span[0]], translate=False))
            result.append(Segment(text[span[0] : span[1]], translate=True))
            end = span[1]
    return [*result, Segment(text[end:], translate=False)] if end < len(text) else result


def detect_format(source: str, text: str) -> TextFormat:
    """Detect the format of `text` by the name of its file, or else by its content."""
    if known := _BY_NAME.get(PurePath(source).suffix.lower()):
        return known
    if _SUBTITLES.match(text):
        return "subtitles"
    signs = sum(bool(sign.search(text[:_SAMPLE])) for sign in _MARKDOWN)
    return "markdown" if signs >= 2 else "text"


def translation_problem(original: str, translation: str, text_format: TextFormat) -> str | None:
    """Say why `translation` cannot replace the segment `original`; None if it can."""
    if not translation.strip():
        return "the answer is empty"
    before, after = _size(original), _size(translation)
    if after > _MAX_GROWTH * before + _SHORT_TEXT:
        return f"the answer is {after / before:.0f} times as long as the text"
    if before > _SHORT_TEXT and after * _MAX_SHRINKAGE < before:
        return "the answer is much shorter than the text"
    return _changed_lines(original, translation.strip(), text_format) or changed_markup(
        original, translation, markdown=text_format == "markdown"
    )


def _paragraphs(text: str) -> Iterable[tuple[int, int]]:
    for paragraph in _PARAGRAPH.finditer(text):
        yield paragraph.start(), paragraph.start() + len(paragraph.group().rstrip())


def _size(text: str) -> int:
    """Count the characters; a Chinese or Japanese one counts as three, since it says as much."""
    return sum(3 if "\u2e80" <= character <= "\uffdc" else 1 for character in text)


def _changed_lines(original: str, translation: str, text_format: TextFormat) -> str | None:
    lines, expected = translation.splitlines(), len(original.splitlines())
    if not all(map(str.strip, lines)):
        return "the answer has blank lines, and the text has none"
    if text_format == "subtitles" and len(lines) != expected:
        return f"the answer has {_lines(len(lines))} instead of {expected}"
    if expected == 1 and len(lines) > 1:
        return f"the answer has {_lines(len(lines))} where the text has one"
    return None


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
