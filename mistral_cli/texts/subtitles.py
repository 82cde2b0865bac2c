"""Finds the spoken words in subtitles.

Three kinds of files: cues, where the words follow a line with two times (SRT, WebVTT, SBV,
SubViewer); lines that begin with their time (LRC, MicroDVD, MPL2, TMPlayer); and SSA and ASS,
whose lines are comma-separated fields. Libraries for subtitles convert them, and keep neither
comments nor cue settings nor line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from mistral_cli.errors import UsageError
from mistral_cli.texts.spans import SYNTAX, Span, line_numbers, lines_of, stripped

SUFFIXES = frozenset((".srt", ".vtt", ".webvtt", ".sbv", ".sub", ".ass", ".ssa", ".lrc"))
_REFUSED = {
    ".ttml": "TTML",
    ".dfxp": "TTML",
    ".itt": "TTML",
    ".smi": "SAMI",
    ".sami": "SAMI",
    ".scc": "SCC",
    ".stl": "STL",
    ".usf": "USF",
}
_REFUSED_CONTENT = re.compile(r"\ufeff?\s*(?:<\?xml[^>]*>\s*)?<(tt|sami)[\s>]", re.IGNORECASE)

# Times as programs and people write them: with and without hours, milliseconds and spaces.
_TIME = r"(?:\d+[ \t]*:[ \t]*)?\d+[ \t]*:[ \t]*\d\d(?:[ \t]*[.,:;][ \t]*\d+)?"
_FULL_TIME = r"\d+:\d\d:\d\d[.,:;]\d+"
_ARROW = r"[ \t]*(?:(?:[-=~\u2010-\u2015][ \t]?)+>|\u2192)[ \t]*"
_TIMING = re.compile(
    rf"[ \t]*(?:{_TIME}{_ARROW}(?:{_TIME}|[ \t]*$)|{_FULL_TIME}[^\w\r\n]{{1,9}}{_FULL_TIME})", re.M
)
_SETTINGS = re.compile(r"(?:[ \t]+[A-Za-z]\w*:\S+)*[ \t]*")
_ODD_ARROW = re.compile(r"[-=~\u2010-\u2015][ \t]?(?:>|&gt;)|\u2192")
_CLOCKS = re.compile(r"\d:\d.*\d:\d")
_NUMBERS = re.compile(r"\d\D+\d")
_VTT, _COMMENT = "WEBVTT", "NOTE"
_BLOCK = re.compile(r"(NOTE|STYLE|REGION)(?=\s|\Z)")
_TIMED_LINE = re.compile(
    r"[ \t]*(?:(?:\[-?\d+:\d\d?(?:[.,:]\d+){0,2}\][ \t]*)+(?:<\d+:\d\d[.:]\d+>[ \t]*)?"  # LRC
    r"|\{-?\d+\}\{-?\d*\}/?|\[\d+\]\[\d*\]/?"  # MicroDVD, MPL2
    r"|-?\d+:\d\d?:\d\d?(?:[.,]\d+)?[:=,](?!\d))"  # TMPlayer
)
_TAG_LINE = re.compile(r"[ \t]*\[([A-Za-z#]+):([^\]\r\n]*)\][ \t]*$", re.M)
_ASS = re.compile(r"^\ufeff?\[(?:Script Info|Events)\]|^Dialogue:", re.I | re.M)
_SECTION = re.compile(r"[ \t]*\[([^\]\r\n]+)\]")
_FIELD = re.compile(r"[ \t]*([\w ]+):[ \t]*")
_ASS_FIELDS = 10  # of an event, unless a Format line says otherwise; the text is the last
_EVENTS = ("dialogue", "comment", "picture", "sound", "movie", "command", "format")
_DRAWING = re.compile(
    r"\{(?:[^{}\\]|\\(?!p[1-9]))*+\\p[1-9][^{}]*+\}.*?(?:\{[^{}]*\\p0[^{}]*\}|\Z)"
)
_CODE = r"\{(?:\\|[A-Za-z]:)[^{}]*\}"  # of SSA and ASS, also in SRT; of MicroDVD
_BEFORE = re.compile(rf"(?:\s|\\N|{_CODE}|<[^>/]*>|[-\u2010-\u2015](?=\s)|[\u266a\u266b#](?=\s))*")
_NO_WORDS = re.compile(rf"(?:\s|\\N|{_CODE}|</[^<>]*>|[\u266a\u266b#])++")
_SPEAKER = re.compile(r"\s*[-\u2010-\u2015]\s*\S")
_SAMPLE = 20_000  # characters that decide the kind


def looks_like_subtitles(text: str) -> bool:
    """Whether a text without a telling name is subtitles, judged by its first lines."""
    first = [text[line.start : line.end] for line in lines_of(text.lstrip("\ufeff \t\r\n")[:1000])]
    if first[0].startswith(_VTT) or first[0].lower().startswith("[script info]"):
        return True
    timing = first[1] if first[0].strip().isdigit() and len(first) > 1 else first[0]
    if _is_time(timing, 0, len(timing)):
        return True
    words = [line for line in first if line and not _TAG_LINE.match(line)]
    return len(words) > 1 and all(map(_TIMED_LINE.match, words[:2]))


def check_subtitles(source: str, text: str) -> None:
    """Refuse subtitles that cannot be translated with their structure. Raises UsageError."""
    suffix = PurePath(source).suffix.lower()
    content = _REFUSED_CONTENT.match(text)
    hint = "Save them as SRT or WebVTT first, for example with Subtitle Edit."
    if (name := _REFUSED.get(suffix)) or content:
        name = name or ("TTML" if content and content[1].lower() == "tt" else "SAMI")
        raise UsageError(f"{source} has {name} subtitles, which cannot be translated", hint=hint)
    if suffix in SUFFIXES and not _has_times(text):
        raise UsageError(f"{source} has no cue with a time that can be read", hint=hint)


def subtitle_spans(text: str) -> Iterator[Span]:
    """Yield the words of each cue, or of each of its lines if every line has a speaker."""
    if _ASS.search(text[:_SAMPLE]):
        yield from _event_spans(text)
    elif _is_timed_lines(text):
        yield from _timed_line_spans(text)
    else:
        yield from _cue_spans(text)


def place_in_subtitles(text: str, position: int) -> str:
    """Name the cue, by its number in the file, or the line that contains `position`."""
    if _ASS.search(text[:_SAMPLE]) or _is_timed_lines(text):
        return f"line {line_numbers(text, [position])[0]}"
    number, label, before = 0, "", ""
    for start, end, _ in _lines(text):
        if start > position:
            break
        if _is_time(text, start, end, before):
            number += 1
            label = before if before.isdigit() else str(number)
        before = text[start:end].strip()
    return f"cue {label}" if label else f"line {line_numbers(text, [position])[0]}"


def _has_times(text: str) -> bool:
    return bool(_ASS.search(text[:_SAMPLE])) or any(
        _TIMING.match(text, *line[:2]) or _TIMED_LINE.match(text, *line[:2])
        for line in _lines(text)
    )


def _lines(text: str) -> list[Span]:
    return lines_of(text, 1 if text.startswith("\ufeff") else 0)


def _is_time(text: str, start: int, end: int, before: str = "-") -> bool:
    """Whether a line has the times of a cue; also in a form that no reader of subtitles knows.

    Such a line stands below `before`, the number of a cue or a blank line, or it has an arrow and
    no letters. A model would lose the time, and the cue with it.
    """
    if _TIMING.match(text, start, end):
        return True
    line = text[start:end]
    is_wordless, has_digit = not _has_letters(line), any(map(str.isdigit, line))
    if "-->" in line and ((is_wordless and has_digit) or not before or before.isdigit()):
        return True
    odd = _ODD_ARROW.search(line) or _CLOCKS.search(line)
    if before.isdigit():
        return has_digit and bool(odd or (is_wordless and _NUMBERS.search(line)))
    return not before and is_wordless and has_digit and bool(odd)


def _has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def _is_timed_lines(text: str) -> bool:
    """Whether more lines begin with their time than lines are the times of a cue."""
    sample = text[:_SAMPLE]
    lines = [line[:2] for line in _lines(sample)]
    timings = sum(bool(_TIMING.match(sample, *line)) for line in lines)
    return sum(bool(_TIMED_LINE.match(sample, *line)) for line in lines) > timings


def _cue_spans(text: str) -> Iterator[Span]:
    lines = _lines(text)
    if is_vtt := text.startswith(_VTT, lines[0].start):
        yield Span(lines[0].start, lines[0].start + len(_VTT), SYNTAX)
        yield stripped(text, lines[0].start + len(_VTT), lines[0].end, "header field")
    stripped_lines = ["", *(text[start:end].strip() for start, end, _ in lines)]
    times = [
        _is_time(text, *line[:2], before)
        for line, before in zip(lines, stripped_lines, strict=False)
    ]
    block, in_cue, words = "header" if is_vtt else "", False, list[Span]()
    separated = True  # by a blank line
    for number, line in enumerate(lines):
        start, end, _ = line
        if times[number]:
            yield from _words(text, words, block)
            block, in_cue, separated, words = "", True, False, []
            timing = _TIMING.match(text, start, end)
            rest = timing.end() if timing else end
            if timing is None:
                yield Span(start, end, "unread line")
            elif _SETTINGS.fullmatch(text, rest, end):
                yield Span(rest, end, SYNTAX)
            elif _has_letters(text[rest:end]):
                words.append(Span(rest, end))
        elif not text[start:end].strip():
            yield from _words(text, words, block)
            block, separated, words = "", True, []
        elif block:
            if block == _COMMENT:
                words.append(line)
            else:
                yield Span(start, end, SYNTAX)
        elif is_vtt and separated and (head := _BLOCK.match(text, start, end)):
            block = head[1]
            yield Span(start, head.end(), SYNTAX)
            words += [Span(head.end(), end)] if block == _COMMENT else []
        elif any(times[number + 1 : number + 2]) and (
            text[start:end].strip().isdigit() or (is_vtt and separated)
        ):
            yield from _words(text, words, block)
            yield Span(start, end, SYNTAX)
            words = []
        elif in_cue:
            words.append(line)
            separated = False
        else:
            yield stripped(text, start, end, "untimed line")
    yield from _words(text, words, block)


def _words(text: str, cue: list[Span], block: str) -> Iterator[Span]:
    """Yield the span of a paragraph of a cue or comment, or of each line of a conversation."""
    if block and cue:
        yield stripped(text, cue[0].start, cue[-1].end, "comment")
        return
    if len(cue) > 1 and all(_SPEAKER.match(text, *line[:2]) for line in cue):
        parts = cue
    else:
        parts = [Span(cue[0].start, cue[-1].end)] if cue else []
    for start, end, _ in parts:
        yield from _unmarked(text, start, end)


def _unmarked(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the span without tags, dashes and notes at its ends, and these as syntax."""
    words = text[start:end]
    inside = _BEFORE.match(words)
    first = inside.end() if inside else 0
    last = len(words)
    for part in _NO_WORDS.finditer(words, first):
        last = part.start() if part.end() == len(words) else len(words)
    yield Span(start, start + first, SYNTAX)
    yield Span(start + first, start + last)
    yield Span(start + last, end, SYNTAX)


def _timed_line_spans(text: str) -> Iterator[Span]:
    for start, end, _ in _lines(text):
        if timed := _TIMED_LINE.match(text, start, end):
            yield from _unmarked(text, timed.end(), end)
        elif tag := _TAG_LINE.match(text, start, end):
            yield Span(start, tag.start(2), SYNTAX)
            yield Span(*tag.span(2), "header field")
        else:
            yield from _unmarked(text, start, end)


def _event_spans(text: str) -> Iterator[Span]:
    """Yield the text of the events of SSA or ASS."""
    section, fields = "", _ASS_FIELDS
    for start, end, _ in _lines(text):
        field = _FIELD.match(text, start, end)
        name = field[1].strip().lower() if field else ""
        if head := _SECTION.match(text, start, end):
            section = head[1].strip().lower()
            yield Span(start, end, SYNTAX)
        elif text.startswith((";", "!"), start):
            yield Span(start + 1, end, "comment")
        elif field and name in ("dialogue", "comment"):
            *_, words = text[field.end() : end].split(",", fields - 1)
            yield Span(start, end - len(words), SYNTAX)
            if name == "comment":
                yield Span(end - len(words), end, "comment")
            else:
                yield from _event_words(text, end - len(words), end)
        elif field and section == "script info" and name == "title":
            yield Span(start, field.end(), SYNTAX)
            yield Span(field.end(), end, "header field")
        elif section not in ("", "events") or name in _EVENTS:
            yield Span(start, end, SYNTAX)
            if section == "events" and name == "format":
                fields = text.count(",", start, end) + 1


def _event_words(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield what stands between the drawings of an event."""
    for drawing in _DRAWING.finditer(text, start, end):
        yield from _unmarked(text, start, drawing.start())
        yield Span(*drawing.span(), SYNTAX)
        start = drawing.end()
    yield from _unmarked(text, start, end)
