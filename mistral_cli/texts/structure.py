"""Splits a document into segments to translate, and checks that a translation kept the markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from mistral_cli.texts.inputs import BYTE_ORDER_MARK
from mistral_cli.texts.markdown import lost_links, markdown_spans, new_block
from mistral_cli.texts.markup import changed_markup, has_words
from mistral_cli.texts.spans import SYNTAX, Span, line_numbers, lines_of, stripped
from mistral_cli.texts.subtitles import (
    SUFFIXES,
    looks_like_subtitles,
    place_in_subtitles,
    subtitle_spans,
)

TextFormat = Literal["text", "markdown", "subtitles"]

_BY_NAME: dict[str, TextFormat] = {
    ".md": "markdown",
    ".markdown": "markdown",
    **dict.fromkeys(SUFFIXES, "subtitles"),
}
_LINK = r"\[[^\[\]\n]+\]\([^)\s]{1,2000}\)"
_MARKDOWN = [  # two must match: a script has comments like headings, an e-mail may have a link
    re.compile(r"^ {0,3}#{1,6} \S.*\n(?:.*\n)*? {0,3}#{1,6} \S", re.MULTILINE),
    re.compile(r"^ {0,3}(```|~~~).*\n(?:.*\n)*? {0,3}\1", re.MULTILINE),
    # The first link, and one on a later line; no other start is tried.
    re.compile(rf"\A(?>(?s:.*?){_LINK}).*\n(?s:.*?){_LINK}"),
    re.compile(r"^\|?[ \t]*:?-{3,}:?[ \t]*\|[-| :\t]*$", re.MULTILINE),
]
_SAMPLE = 100_000  # characters that decide the format

_PARAGRAPH = re.compile(r"\S(?:.*(?:\r?\n[ \t]*(?=[^\s]))?)*")

_SHOWN_LINES = 5  # in a message
_SHORT_TEXT = 60  # characters; the two ratios apply to longer texts only
_MAX_GROWTH = 3
_MAX_SHRINKAGE = 5


# Line breaks in a subtitle file that has a line for each cue: ASS, SubViewer, MicroDVD.
_BREAK = re.compile(r"\r\n|\r|\n")
_SUBTITLE_BREAK = re.compile(r"\r\n|\r|\n|\\N|\[br\]|\|")


@dataclass(frozen=True)
class Segment:
    """A part of a document; all segments together are the document, to the character."""

    text: str
    translate: bool


def segments(text: str, text_format: TextFormat) -> list[Segment]:
    """Split `text` into the segments to translate and those that stay as they are."""
    result: list[Segment] = []
    end = 0
    for span in _spans(text, text_format):
        if span.kind:
            continue
        if end < span.start:
            result.append(Segment(text[end : span.start], translate=False))
        result.append(Segment(text[span.start : span.end], translate=True))
        end = span.end
    return [*result, Segment(text[end:], translate=False)] if end < len(text) else result


def left_out(text: str, text_format: TextFormat) -> list[str]:
    """Count the parts of `text` that have words and are not translated, and name their lines.

    The list has one message, or none if nothing is left out.
    """
    spans = [span for span in _spans(text, text_format) if span.kind not in ("", SYNTAX)]
    lines = dict[str, list[int]]()
    for span, line in zip(spans, line_numbers(text, (s.start for s in spans)), strict=True):
        lines.setdefault(span.kind, []).append(line)
    parts = [_counted(kind, numbers) for kind, numbers in lines.items()]
    return [f"not translated: {', '.join(parts)}"] if parts else []


def place(text: str, position: int, text_format: TextFormat) -> str:
    """Name the cue or the line of the document `text` that contains `position`."""
    if text_format == "subtitles":
        return place_in_subtitles(text, position)
    return f"line {line_numbers(text, [position])[0]}"


def without_breaks(text: str, text_format: TextFormat) -> str:
    """Return `text` with each of its line breaks, however it is written, as a newline."""
    return _break(text_format).sub("\n", text)


def with_breaks(original: str, translation: str, text_format: TextFormat) -> str:
    """Return `translation` with its newlines written as the line breaks in `original`."""
    breaks, lines = _break(text_format).findall(original), translation.split("\n")
    if len(breaks) != len(lines) - 1:
        breaks = (breaks or ["\n"])[:1] * (len(lines) - 1)
    return "".join(line + end for line, end in zip(lines, [*breaks, ""], strict=True))


def detect_format(source: str, text: str) -> TextFormat:
    """Detect the format of `text` by the name of its file, or else by its content."""
    if known := _BY_NAME.get(PurePath(source).suffix.lower()):
        return known
    if looks_like_subtitles(text):
        return "subtitles"
    signs = sum(bool(sign.search(text[:_SAMPLE])) for sign in _MARKDOWN)
    return "markdown" if signs >= 2 else "text"


def translation_problem(
    original: str,
    translation: str,
    text_format: TextFormat,
    labels: frozenset[str] = frozenset(),
) -> str | None:
    """Say why `translation` cannot replace the segment `original`; None if it can.

    `labels` are those of the link definitions in a Markdown document.
    """
    if not translation.strip():
        return "the answer is empty"
    before, after = _size(original), _size(translation)
    if after > _MAX_GROWTH * before + _SHORT_TEXT:
        return f"the answer is {after / before:.0f} times as long as the text"
    if before > _SHORT_TEXT and after * _MAX_SHRINKAGE < before:
        return "the answer is much shorter than the text"
    is_markdown = text_format == "markdown"
    problems = [
        _changed_lines(original, translation.strip(), text_format),
        changed_markup(original, translation, markdown=is_markdown),
    ]
    if is_markdown:
        problems += [f"the answer lacks {x}" for x in lost_links(original, translation, labels)]
    if is_markdown and not any(problems) and (block := new_block(original, translation.strip())):
        problems.append(f"the answer has a new block ({block})")
    return "; ".join(filter(None, problems)) or None


def _spans(text: str, text_format: TextFormat) -> Iterator[Span]:
    """Yield the spans of `text` that have words, in order, and those that no reader found."""
    if text_format == "subtitles":
        spans: Iterable[Span] = subtitle_spans(text)
    elif text_format == "markdown":
        spans = markdown_spans(text)
    else:
        spans = _paragraphs(text)
    letters = 1 if text_format == "subtitles" else 2
    end = 0
    for span in (*spans, Span(len(text), len(text))):
        if end < span.start and has_words(text[end : span.start], letters):
            for line in lines_of(text[end : span.start]):
                start, stop, _ = stripped(text, end + line.start, end + line.end)
                if has_words(text[start:stop], letters):
                    yield Span(start, stop, "unread line")
        if has_words(text[span.start : span.end], letters):
            yield span
        end = max(end, span.end)


def _paragraphs(text: str) -> Iterator[Span]:
    for paragraph in _PARAGRAPH.finditer(text, text.startswith(BYTE_ORDER_MARK)):
        yield Span(paragraph.start(), paragraph.start() + len(paragraph.group().rstrip()))


def _break(text_format: TextFormat) -> re.Pattern[str]:
    return _SUBTITLE_BREAK if text_format == "subtitles" else _BREAK


def _counted(kind: str, lines: list[int]) -> str:
    if len(lines) == 1:
        return f"1 {kind} (line {lines[0]})"
    shown = ", ".join(map(str, lines[:_SHOWN_LINES]))
    more = ", …" if len(lines) > _SHOWN_LINES else ""
    return f"{len(lines)} {kind}s (lines {shown}{more})"


def _size(text: str) -> int:
    """Count the characters; a Chinese or Japanese one counts as three, since it says as much."""
    return sum(3 if "\u2e80" <= character <= "\uffdc" else 1 for character in text)


def _changed_lines(original: str, translation: str, text_format: TextFormat) -> str | None:
    lines, expected = translation.splitlines(), len(original.splitlines())
    if not all(map(str.strip, lines)) and all(map(str.strip, original.splitlines())):
        return "the answer has blank lines, and the text has none"
    if text_format == "subtitles" and len(lines) != expected:
        return f"the answer has {_lines(len(lines))} instead of {expected}"
    if expected == 1 and len(lines) > 1:
        return f"the answer has {_lines(len(lines))} where the text has one"
    return None


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
