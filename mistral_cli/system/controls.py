r"""Characters that control a terminal instead of being shown: removed, or shown as escapes.

ESC and the C1 controls can hide text, retitle the window or paste into the shell; the bidi
controls reorder what follows them, so that a name or a command looks like another one. An answer
loses them (`without_controls`); a name in a message shows them (`visible`, as `ls` does).
"""

from __future__ import annotations

import re
from collections.abc import Callable

LONGEST_LINE = 400
"""The characters of a line of a message; a longer one is shortened in the middle."""

# Embeddings, overrides and isolates. The marks (U+061C, U+200E, U+200F) stay in an answer:
# Arabic and Hebrew texts contain them, and they reorder nothing but their neighbours.
_BIDI = "\u202a-\u202e\u2066-\u2069"
_CONTROLS = rf"\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}"
_LINE_BREAKS = "\n\u2028\u2029"

_IN_AN_ANSWER = re.compile(f"[{_CONTROLS}]")
_IN_A_TEXT = re.compile(f"[{_CONTROLS}\ud800-\udfff\u061c\u200e\u200f]")
_IN_A_CELL = re.compile(f"[{_CONTROLS}\u061c\u200e\u200f\t{_LINE_BREAKS}]")
_IN_JSON = re.compile(f"[\x7f-\x9f{_BIDI}\u061c\u200e\u200f]")  # it escapes those below U+0020
_SURROGATES = re.compile("[\ud800-\udfff]")


def without_controls(text: str) -> str:
    """Return `text` without control characters, except newlines and tabs."""
    return _IN_AN_ANSWER.sub("", text)


def visible(text: str) -> str:
    r"""Return `text` with its control characters as escapes (`\x1b`), except newlines and tabs."""
    return _IN_A_TEXT.sub(_escape, text)


def marked(text: str, mark: Callable[[str], str]) -> str:
    """Return `text` with `mark(escape)` in the place of each control character."""
    return _IN_A_TEXT.sub(lambda found: mark(_escape(found)), text)


def as_cell(text: str) -> str:
    """Return `text` for a table: controls, newlines and tabs are shown as escapes.

    The bytes of a name that is not UTF-8 stay, since a pipe gets them as they are.
    """
    return _IN_A_CELL.sub(_escape, text)


def on_one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Return `text` as one line of at most `longest` characters, with controls as escapes.

    A newline in a name must not begin a line that looks like a message of ours.
    """
    if len(text) > 2 * longest:  # a text of megabytes: escapes only make it longer
        text = f"{text[:longest]}…{text[-longest:]}"
    line = visible(as_cell(text))
    if len(line) <= longest:
        return line
    head = longest // 2
    return f"{line[:head]} … {line[head + 3 - longest :]}"


def json_escaped(text: str, *, for_terminal: bool) -> str:
    """Escape in a JSON text what UTF-8 cannot encode and, for a terminal, what would control it."""
    if for_terminal:
        text = _IN_JSON.sub(_json_escape, text)
    return _SURROGATES.sub(_json_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python represents a byte of a name that is not UTF-8
        code -= 0xDC00
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(
        found[0], f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    )


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
