"""The end of a block of code, by its brackets and its indentation.

No parser: the language of a pipe is not known, and a text that is being written does not parse.
Comments and strings are left out where every common language agrees what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from mistral_cli.generation.completions.ends import Cut

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_INDENTED_LANGUAGE = re.compile(
    r"(?m)^[ \t]*(?:async )?(?:def|class|if|elif|else|for|while|with|try|except|match)\b[^\n{}]*:"
    r"[ \t]*(?:#.*)?$"
)
_STRING = r"""
    (?P<string> "{3} (?:[^\\]|\\.)*? (?:"{3}|\Z) | '{3} (?:[^\\]|\\.)*? (?:'{3}|\Z)
    | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | `(?:[^`\\\n]|\\.)*` )
"""
_WITH_HASHES = re.compile(rf"(?sx) {_STRING} | \#[^\n]*")
_WITH_SLASHES = re.compile(rf"(?sx) {_STRING} | //[^\n]* | /\*.*?(?:\*/|\Z)")
_IN_STRING = "\x01"
_QUOTE = re.compile(r"[\"'`][^\n]*\Z")
_OPENS_BLOCK = re.compile(r"[:({\[]\s*\Z")
# These continue or end the statement before them.
_CONTINUING = re.compile(r"(?:else|elif|except|finally|catch|then|end|fi|done|esac)\b")
_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")


class _Line(NamedTuple):
    """A line that is not blank: its place, its indentation in columns, and its code."""

    start: int
    end: int
    indent: int
    code: str


@dataclass(frozen=True)
class BlockEnd:
    """Ends with the block that the completion is in, or that its first line begins.

    `before` and `after` are the texts around the completion. A closing bracket that `before` opened
    ends the block, and belongs to it unless `after` begins with it. So does a line that is indented
    less than the block, or as little as the line that introduces it.
    """

    before: str
    after: str = ""

    def cut(self, text: str, *, final: bool) -> Cut:
        """As in CompletionEnd."""
        code = self._code_of(text)
        cuts = [
            self._bracket_cut(text, code, final=final),
            self._indent_cut(text, code, final=final),
        ]
        # Of a quote we know only at the end of its line whether a text begins with it.
        if not final and (quote := _QUOTE.search(code)):
            cuts.append(Cut(quote.start()))
        return min(cuts, key=lambda cut: (cut.certain, not cut.ended))

    @cached_property
    def _is_indented(self) -> bool:
        return bool(_INDENTED_LANGUAGE.search(self.before))

    @cached_property
    def _before_code(self) -> str:
        return _code(self.before, self._is_indented)

    @cached_property
    def _current(self) -> str:
        """What stands before the completion in its line."""
        return self.before.rpartition("\n")[2]

    @cached_property
    def _unfinished(self) -> str:
        """The end of `before` without which a completion cannot be read: a string, or its line."""
        pattern = _WITH_HASHES if self._is_indented else _WITH_SLASHES
        start = len(self.before) - len(self._current)
        for found in pattern.finditer(self.before):
            if found.end() == len(self.before):
                start = min(start, found.start())
        return self.before[start:]

    @cached_property
    def _open_brackets(self) -> list[tuple[str, bool]]:
        """The brackets that `before` leaves open, and whether they are in the last line."""
        stack: list[tuple[str, bool]] = []
        last_line = len(self.before) - len(self._current)
        for index, character in enumerate(self._before_code):
            if character in _CLOSERS.values():
                stack.append((character, index >= last_line))
            elif character in _CLOSERS and stack and stack[-1][0] == _CLOSERS[character]:
                stack.pop()
        return stack

    def _bracket_cut(self, text: str, code: str, *, final: bool) -> Cut:
        depth, still_open = 0, list(self._open_brackets)
        for index, character in enumerate(code):
            depth += (character in _CLOSERS.values()) - (character in _CLOSERS)
            if depth >= 0:
                continue
            bracket, in_line = still_open.pop() if still_open else ("", False)
            if bracket != _CLOSERS[character] or self.after.lstrip().startswith(character):
                return Cut(len(text[:index].rstrip()), ended=True)
            line_end = code.find("\n", index)
            if in_line and line_end < 0 and not final:
                return Cut(index)
            rest = code[index + 1 : line_end if line_end >= 0 else None]
            if in_line and _OPENS_BLOCK.search(rest):
                depth = 0  # the bracket ends the conditions or parameters before a block
                continue
            if index + 1 == len(text) and not final:
                return Cut(index)  # a semicolon may follow
            return Cut(index + 1 + text.startswith(";", index + 1), ended=True)
        return Cut(len(text))

    def _indent_cut(self, text: str, code: str, *, final: bool) -> Cut:
        lines = list(self._lines(text, code))
        if not lines:
            return Cut(len(text) if final else 0)
        first = lines[0]
        introduction = self._introduction(first)
        depth = _depth(first.code)
        end = first.end
        for before, line in pairwise(lines):
            is_last = line is lines[-1] and line.end == len(text)
            if depth <= 0 and _is_outside(line, before, first, introduction, text):
                if is_last and not final and line.code.isalpha():
                    return Cut(end)  # the word may become "else"
                if not _CONTINUING.match(line.code):
                    return Cut(end, ended=True)
            depth += _depth(line.code)
            end = line.end
        return Cut(len(text) if final else end)

    def _introduction(self, first: _Line) -> int | None:
        """The indentation of the line that introduces the block, if there is one."""
        if not self._current.strip():
            last = self._before_code.rstrip().rpartition("\n")[2]
            if _OPENS_BLOCK.search(last):
                return _indentation(last)
        return first.indent if _OPENS_BLOCK.search(first.code) else None

    def _lines(self, text: str, code: str) -> Iterator[_Line]:
        """The lines of the completion that are not blank, the first with what is before it."""
        before = self._current
        for part in _LINE.finditer(text):
            line = before + part[0]
            if line.strip():
                end = part.start() + len(part[0].rstrip())
                words = (before + code[part.start() : part.end()]).strip()
                yield _Line(part.start(), end, _indentation(line), words)
            before = ""

    def _code_of(self, text: str) -> str:
        """The completion without its strings and comments."""
        is_indented = self._is_indented or bool(_INDENTED_LANGUAGE.search(text))
        return _code(self._unfinished + text, is_indented)[len(self._unfinished) :]


def _is_outside(
    line: _Line, before: _Line, first: _Line, introduction: int | None, text: str
) -> bool:
    """Whether `line` is indented so little that it does not belong to the block of `first`."""
    if line.code.startswith((*_CLOSERS, _IN_STRING)):
        return False
    if introduction is not None:
        return line.indent <= introduction
    if first.indent:
        return line.indent < first.indent
    follows_blank = text.count("\n", before.end, line.start) > 1
    return line.indent == 0 and (follows_blank or before.indent > 0)


def _code(text: str, is_indented: bool) -> str:
    """`text` with all places unchanged, but blanks for comments and marks for strings."""

    def blank(found: re.Match[str]) -> str:
        fill = _IN_STRING if found["string"] else " "
        first = found[0][0] if found["string"] else " "
        return first + re.sub(r"[^\n]", fill, found[0][1:])

    pattern = _WITH_HASHES if is_indented else _WITH_SLASHES
    return pattern.sub(blank, text)


def _depth(code: str) -> int:
    opened = sum(code.count(each) for each in _CLOSERS.values())
    return opened - sum(code.count(each) for each in _CLOSERS)


def _indentation(line: str) -> int:
    """The columns before the first word, with tabs of 8."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())
