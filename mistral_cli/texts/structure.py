"""What of a text is to be translated, and whether a translation kept what it had to keep."""

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
_MARKDOWN = [  # a script has comments like headings, a mail may have a link: it takes two of these
    re.compile(r"^ {0,3}#{1,6} \S.*\n(?:.*\n)*? {0,3}#{1,6} \S", re.MULTILINE),
    re.compile(r"^ {0,3}(```|~~~).*\n(?:.*\n)*? {0,3}\1", re.MULTILINE),
    re.compile(r"\[[^\]\n]+\]\([^)\s]+\)(?:.*\n)+?.*\[[^\]\n]+\]\([^)\s]+\)"),
    re.compile(r"^\|?[ \t]*:?-{3,}:?[ \t]*\|[-| :\t]*$", re.MULTILINE),
]
_LOOKED_AT = 100_000  # characters

_PARAGRAPH = re.compile(r"\S(?:.*(?:\r?\n[ \t]*(?=[^\s]))?)*")

_FEW = 60  # characters; what is said of lengths holds for longer texts only
_LONGER = 3
_SHORTER = 5


@dataclass(frozen=True)
class Segment:
    """A piece of a document; the pieces together are the document, to the character."""

    text: str
    translate: bool


def segments(text: str, kind: TextFormat) -> list[Segment]:
    """`text` in pieces: those to translate, and what stays as it is between them."""
    spans = {"text": _paragraphs, "markdown": markdown_spans, "subtitles": subtitle_spans}
    result: list[Segment] = []
    end = 0
    for span in spans[kind](text):
        if has_words(text[span[0] : span[1]]):
            if end < span[0]:
                result.append(Segment(text[end : span[0]], translate=False))
            result.append(Segment(text[span[0] : span[1]], translate=True))
            end = span[1]
    return [*result, Segment(text[end:], translate=False)] if end < len(text) else result


def detect_format(source: str, text: str) -> TextFormat:
    """What `text` is, by the name of the file it is from, or else by its looks."""
    if kind := _BY_NAME.get(PurePath(source).suffix.lower()):
        return kind
    if _SUBTITLES.match(text):
        return "subtitles"
    signs = sum(bool(sign.search(text[:_LOOKED_AT])) for sign in _MARKDOWN)
    return "markdown" if signs >= 2 else "text"


def translation_problem(original: str, translation: str, kind: TextFormat) -> str | None:
    """Why `translation` cannot stand in the place of the segment `original`; None if it can."""
    if not translation.strip():
        return "the answer is empty"
    before, after = _size(original), _size(translation)
    if after > _LONGER * before + _FEW:
        return f"the answer is {after / before:.0f} times as long as the text"
    if before > _FEW and after * _SHORTER < before:
        return "the answer is much shorter than the text"
    return _changed_lines(original, translation.strip(), kind) or changed_markup(
        original, translation, markdown=kind == "markdown"
    )


def _paragraphs(text: str) -> Iterable[tuple[int, int]]:
    for paragraph in _PARAGRAPH.finditer(text):
        yield paragraph.start(), paragraph.start() + len(paragraph.group().rstrip())


def _size(text: str) -> int:
    """Its characters, a Chinese or Japanese one for three: it says as much."""
    return sum(3 if "\u2e80" <= character <= "\uffdc" else 1 for character in text)


def _changed_lines(original: str, translation: str, kind: TextFormat) -> str | None:
    lines, wanted = translation.splitlines(), len(original.splitlines())
    if not all(map(str.strip, lines)):
        return "the answer has blank lines, which the text has not"
    if kind == "subtitles" and len(lines) != wanted:
        return f"the answer has {_lines(len(lines))} instead of {wanted}"
    if wanted == 1 and len(lines) > 1:
        return f"the answer has {_lines(len(lines))} where the text has one"
    return None


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
