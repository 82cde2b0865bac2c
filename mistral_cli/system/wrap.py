"""A word wrapper for text that arrives in deltas.

The answer streams word by word: a word is printed as soon as it is known to be complete, after a
line break if it does not fit. The text is split once, into graphemes, and each grapheme drives a
small state machine; so where the deltas begin and end cannot change the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, split_graphemes

from mistral_cli.system.controls import without_controls

_ZERO_WIDTH_JOINER = "\u200d"
_TAB_STOP = 8
_WHITESPACE = "\n \t"

# Simple kinsoku: Japanese may break between any two characters, except before and after these.
_NEVER_FIRST = frozenset(
    "、。，．・：；？！）］｝〉》」』】〕〗〙｠»”’,.:;?!)]}%…‥ー〜～々ゝゞヽヾ"  # noqa: RUF001
    "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ\u3000"
)
_NEVER_LAST = frozenset("（［｛〈《「『【〔〖〘｟«“‘([{")  # noqa: RUF001

# A line that is, or may still become, the opening line of a fenced code block. A backtick in
# the rest of the line means inline code (```like this```), as in CommonMark.
_MAYBE_FENCE = re.compile(r"`{1,2}|`{3,}[^`]*|~{1,2}|~{3,}.*")
_FENCE = re.compile(r"`{3,}|~{3,}")


class Wrapper:
    """Wraps streamed text at `width` columns (at least 2).

    The text's own line breaks and fenced code blocks stay as they are, and so do spaces except
    at a line break or beyond the right edge. Only a word wider than a line is broken.
    """

    def __init__(self, width: int) -> None:
        self._width = max(width, 2)
        self._grapheme = ""  # the newest one: a combining mark may still follow
        self._out: list[str] = []
        self._column = 0
        self._gap = ""  # whitespace before the word: printed with it, or dropped at a line break
        self._word: list[str] = []
        self._line_start = True  # nothing but whitespace yet on the text's own line
        self._opening: list[str] = []  # the start of a line that may open a code block
        self._fence = ""  # the marks that opened the current code block
        self._code_line = ""

    def feed(self, text: str) -> str:
        """Take the next delta; return what to print now."""
        for grapheme in self._graphemes(without_controls(text)):
            self._step(grapheme)
        return self._take_output()

    def finish(self) -> str:
        """End the text; return what was held back."""
        if self._grapheme:
            self._step(self._grapheme)
            self._grapheme = ""
        if _FENCE.match("".join(self._opening)):
            self._put_opening()
        else:
            self._flow_opening()
        self._end_word()
        self._end_gap()
        return self._take_output()

    def _take_output(self) -> str:
        text = "".join(self._out)
        self._out.clear()
        return text

    def _graphemes(self, text: str) -> Iterator[str]:
        """Yield the graphemes known to be complete; keep the last one for the next delta."""
        for char in text:
            if self._grapheme and _extends(self._grapheme, char):
                self._grapheme += char
                continue
            if self._grapheme:
                yield self._grapheme
            self._grapheme = char
            if char in _WHITESPACE:  # nothing joins whitespace: no need to hold it back
                yield char
                self._grapheme = ""

    def _step(self, grapheme: str) -> None:
        if self._fence:
            self._code(grapheme)
        elif self._opening or (self._line_start and grapheme in ("`", "~")):
            self._maybe_opening(grapheme)
        else:
            self._flow(grapheme)

    def _code(self, grapheme: str) -> None:
        """Inside a code block: print the text as it is, and look for the closing line."""
        self._out.append(grapheme)
        if grapheme != "\n":
            self._code_line += grapheme
            return
        marks = self._code_line.strip(" \t")
        if marks.startswith(self._fence) and not marks.strip(self._fence[0]):
            self._fence = ""
        self._code_line = ""

    def _maybe_opening(self, grapheme: str) -> None:
        """Hold back a line that starts like a code fence until it is one or cannot be one."""
        fence = _FENCE.match("".join(self._opening))
        self._opening.append(grapheme)
        if fence and grapheme == "\n":
            self._put_opening()
            self._fence = fence[0]
        elif not _MAYBE_FENCE.fullmatch("".join(self._opening)):
            self._flow_opening()

    def _put_opening(self) -> None:
        self._out += [self._gap, *self._opening]
        self._gap = ""
        self._opening.clear()

    def _flow_opening(self) -> None:
        for grapheme in self._opening:
            self._flow(grapheme)
        self._opening.clear()

    def _flow(self, grapheme: str) -> None:
        """Outside a code block: collect words and gaps; print each word once it is complete."""
        if grapheme == "\n":
            self._end_word()
            self._end_gap()
            self._out.append(grapheme)
            self._column = 0
            self._line_start = True
        elif grapheme in _WHITESPACE:
            self._end_word()
            self._gap += grapheme
        else:
            overflows = cell_len("".join(self._word)) + cell_len(grapheme) > self._width
            if self._word and (overflows or _may_break(self._word[-1], grapheme)):
                self._end_word()
            self._word.append(grapheme)
            self._line_start = False

    def _end_word(self) -> None:
        """Print the word after its gap or, if it does not fit there, on a new line."""
        if not self._word:
            return
        word = "".join(self._word)
        start = self._after_gap()
        if start + cell_len(word) <= self._width:
            self._out.append(self._gap)
        else:
            if self._column:  # else only indentation is in the way: dropping it is enough
                self._out.append("\n")
            start = 0
        self._out.append(word)
        self._column = start + cell_len(word)
        self._gap = ""
        self._word.clear()

    def _end_gap(self) -> None:
        """End a line: keep its last spaces if they fit (in Markdown two are a line break)."""
        if self._after_gap() <= self._width:
            self._out.append(self._gap)
        self._gap = ""

    def _after_gap(self) -> int:
        """Return the column where the gap ends."""
        column = self._column
        for space in self._gap:
            column += 1 if space == " " else _TAB_STOP - column % _TAB_STOP
        return column


def _extends(grapheme: str, char: str) -> bool:
    """Return true if a terminal draws `char` into `grapheme`: marks, joined emoji, flags."""
    if char in _WHITESPACE:
        return False
    if cell_len(char) == 0:
        return True
    if grapheme.endswith(_ZERO_WIDTH_JOINER):
        return len(split_graphemes(grapheme + char)[0]) == 1  # two joiners join nothing
    return _is_flag_half(grapheme) and _is_flag_half(char)


def _is_flag_half(grapheme: str) -> bool:
    return len(grapheme) == 1 and "\U0001f1e6" <= grapheme <= "\U0001f1ff"


def _may_break(before: str, after: str) -> bool:
    """Return true if a line may break between two graphemes without a space."""
    wide = cell_len(before) > 1 or cell_len(after) > 1
    return wide and before[0] not in _NEVER_LAST and after[0] not in _NEVER_FIRST
