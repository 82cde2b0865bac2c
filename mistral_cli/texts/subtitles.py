"""Finds the spoken words in SRT and WebVTT subtitles."""

from __future__ import annotations

import re
from collections.abc import Iterator

TIMING = r"[ \t]*(?:\d+:)?\d+:\d\d[.,]\d+[ \t]*-->[ \t]*(?:\d+:)?\d+:\d\d[.,]\d+"

_TIMING = re.compile(TIMING)
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_BEFORE = re.compile(r"(?:\s|\{\\[^}]*\}|<[^>/]*>|[-\u2010-\u2015](?=\s)|[\u266a\u266b#](?=\s))*")
_AFTER = re.compile(r"(?:\s|</[^>]*>|[\u266a\u266b#])*\Z")
_SPEAKER = re.compile(r"\s*[-\u2010-\u2015]\s*\S")


def subtitle_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each cue's words, or of each line if every line has a speaker."""
    lines = [(line.start(1), line.end(1)) for line in _LINE.finditer(text)]
    cue: list[tuple[int, int]] | None = None  # None: not in a cue
    for number, (start, end) in enumerate(lines):
        if _TIMING.match(text, start, end):
            yield from _words(text, cue or [])
            cue = []
        elif cue is not None and _ends_cue(text, lines, number):
            yield from _words(text, cue)
            cue = None
        elif cue is not None:
            cue.append((start, end))
    yield from _words(text, cue or [])


def _ends_cue(text: str, lines: list[tuple[int, int]], number: int) -> bool:
    """Whether a line is blank, or is the number of the next cue without a blank line before it."""
    line = text[slice(*lines[number])].strip()
    following = lines[number + 1] if number + 1 < len(lines) else (len(text), len(text))
    return not line or (line.isdigit() and bool(_TIMING.match(text, *following)))


def _words(text: str, cue: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    if len(cue) > 1 and all(_SPEAKER.match(text, *line) for line in cue):
        parts = cue
    else:
        parts = [(cue[0][0], cue[-1][1])] if cue else []
    for start, end in parts:
        words = text[start:end]
        inside = _BEFORE.match(words)
        first = inside.end() if inside else 0
        after = _AFTER.search(words, first)
        yield start + first, start + (after.start() if after else len(words))
