"""The end of a block of code, by its brackets and its indentation.

No parser: the language of a pipe is not known, and a text that is being written does not parse.
Comments and strings are left out where every common language agrees what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from mistral_cli.generation.completions.ends import Cut

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_BRACKET = re.compile(r"[()\[\]{}]")
_INDENTED_LANGUAGE = re.compile(
    r"(?m)^[ \t]*(?:async )?(?:def|class|if|elif|else|for|while|with|try|except|match)\b[^\n{}]*:"
    r"[ \t]*(?:#.*)?$"
)
_STRING = r"""
    (?P<string> "{3} (?:[^\\]|\\.)*? (?:"{3}|\Z) | '{3} (?:[^\\]|\\.)*? (?:'{3}|\Z)
    | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | `(?:[^`\\\n]|\\.)*` )
"""
# Not the "#" of a shell's "$#", "${#x}" and "${x##*/}".
_WITH_HASHES = re.compile(rf"(?sx) {_STRING} | (?<![\w${{\#])\#[^\n]*")
_WITH_SLASHES = re.compile(rf"(?sx) {_STRING} | //[^\n]* | /\*.*?(?:\*/|\Z)")
_IN_STRING = "\x01"
_UNMATCHED_QUOTE = re.compile(r"[\"'`](?!\x01)")
_QUOTE = re.compile(r"[\"'`][^\n]*\Z")
_HEADER_LINES = 200  # of the lines before a completion, those that its block may begin in
_LONG_LINE = 1000  # characters; every delta reads the line again
_HASH_COMMENT = re.compile(r"(?m)^[ \t]*#(?:[ \t#!]|$)")
_SLASH_COMMENT = re.compile(r"(?m)^[ \t]*/[/*]")
_PREPROCESSOR = re.compile(r"#[ \t]*(?:if|ifdef|ifndef|el\w+|endif|define|undef|include|pragma)\b")
_END_OF_OPEN = re.compile(r"[\\\"'*/]*\Z")
_OPENS_BLOCK = re.compile(r"(?:[:({\[]|\b(?:then|do|else))\s*\Z")
# Statements that are a part of a block, where a function or a class is a block of its own.
_CONTROL = re.compile(
    r"[}\s]*(?:async )?(?:if|elif|elsif|else|for|foreach|while|until|unless|with|try|except|catch"
    r"|finally|switch|select|match|case|do|loop|begin|return|await|var|let|const|my|local)\b"
)
# These continue or end the statement before them.
_CONTINUING = re.compile(r"(?:else|elif|except|finally|catch|then|end|fi|done|esac)\b")
# The beginning of a line that may become one of these, a directive or a comment.
_UNCLEAR = re.compile(r"[a-z]+|#.*|/")
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
    ends the block, and belongs to it unless `after` begins with it. A line that is indented less
    than the block, or as little as the line that introduces it, ends it, too.
    """

    before: str
    after: str = ""

    def cut(self, text: str, *, final: bool) -> Cut:
        """As in CompletionEnd."""
        if not final and self._has_open_quote and "\n" not in text:
            return Cut(0)
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
    def _has_hashes(self) -> bool | None:
        """Whether "#" begins a comment, and not "//"; None if the texts do not show it."""
        around = f"{self.before}\n{self.after}"
        if self._is_indented or around.startswith("#!"):
            return True
        hashes = [each.start() for each in _HASH_COMMENT.finditer(around)]
        hashes = [start for start in hashes if not _PREPROCESSOR.match(around[start:].lstrip())]
        slashes = len(_SLASH_COMMENT.findall(around))
        return None if len(hashes) == slashes else len(hashes) > slashes

    @cached_property
    def _before_code(self) -> str:
        return _code(self.before, bool(self._has_hashes))

    @cached_property
    def _current(self) -> str:
        """What stands before the completion in its line."""
        return self.before.rpartition("\n")[2]

    @cached_property
    def _current_code(self) -> str:
        """The code before the completion in its line; of a very long line the start and the end."""
        code = self._before_code[len(self.before) - len(self._current) :]
        if len(code) <= 2 * _LONG_LINE:
            return code
        return code[:_LONG_LINE] + code[-_LONG_LINE:]

    @cached_property
    def _has_open_quote(self) -> bool:
        """Whether the first line of the completion may close a string."""
        return bool(_UNMATCHED_QUOTE.search(self._current_code))

    @cached_property
    def _unfinished(self) -> str:
        """The end of `before` without which a completion cannot be read: an open string or quote.

        It is short even if the string is not: every delta is read after it.
        """
        pattern = _WITH_HASHES if self._has_hashes else _WITH_SLASHES
        for found in pattern.finditer(self.before):
            if found.end() == len(self.before):
                return _shortened(found[0])
        line = self._before_code[len(self.before) - len(self._current) :]
        unmatched = _UNMATCHED_QUOTE.search(line)
        return self._current[unmatched.start() if unmatched else -1 :]

    @cached_property
    def _open_brackets(self) -> list[tuple[str, bool]]:
        """The brackets that `before` leaves open, and whether they are in the last line."""
        stack: list[tuple[str, bool]] = []
        last_line = len(self.before) - len(self._current)
        for found in _BRACKET.finditer(self._before_code):
            character = found[0]
            if character not in _CLOSERS:
                stack.append((character, found.start() >= last_line))
            elif stack and stack[-1][0] == _CLOSERS[character]:
                stack.pop()
        return stack

    def _bracket_cut(self, text: str, code: str, *, final: bool) -> Cut:
        opened: list[str] = []
        still_open = list(self._open_brackets)
        for found in _BRACKET.finditer(code):
            index, character = found.start(), found[0]
            if character not in _CLOSERS:
                opened.append(character)
                continue
            if self._is_pattern(character, opened, still_open):
                continue
            if opened:
                opened.pop()
                continue
            bracket, in_line = still_open.pop() if still_open else ("", False)
            if bracket != _CLOSERS[character] or self.after.lstrip().startswith(character):
                return Cut(len(text[:index].rstrip()), ended=True)
            line_end = code.find("\n", index)
            if in_line and line_end < 0 and not final:
                return Cut(index)
            rest = code[index + 1 : line_end if line_end >= 0 else None]
            if in_line and _OPENS_BLOCK.search(rest):
                continue  # the bracket ends the conditions or parameters before a block
            if index + 1 == len(text) and not final:
                return Cut(index)  # a semicolon may follow
            return Cut(index + 1 + text.startswith(";", index + 1), ended=True)
        return Cut(len(text))

    def _is_pattern(
        self, closer: str, opened: list[str], still_open: list[tuple[str, bool]]
    ) -> bool:
        """Whether `closer` ends a pattern of a shell's `case`, which nothing opens."""
        if closer != ")" or not self._has_hashes or self._is_indented:
            return False
        innermost = opened[-1] if opened else still_open[-1][0] if still_open else ""
        return innermost != "("

    def _indent_cut(self, text: str, code: str, *, final: bool) -> Cut:
        lines = list(self._lines(text, code))
        if not lines:
            return Cut(len(text) if final else 0)
        first = lines[0]
        introduction = self._introduction(lines)
        depth = _depth(first.code)
        end = first.end
        held = False
        for before, line in pairwise(lines):
            is_last = line is lines[-1] and line.end == len(text)
            if depth <= 0 and _is_outside(line, before, first, introduction, text):
                if is_last and not final and _UNCLEAR.fullmatch(line.code):
                    return Cut(end)
                if _is_passed_over(line, before, text):
                    held = True  # it belongs to the block if more of the block follows
                    continue
                limit = self._enclosing(first) if introduction is None else introduction
                if line.indent < limit or not _CONTINUING.match(line.code):
                    return Cut(end, ended=True)
            depth += _depth(line.code)
            end, held = line.end, False
        return Cut(len(text) if final and not held else end)

    def _introduction(self, lines: list[_Line]) -> int | None:
        """The indentation of the statement that introduces the block, if there is one."""
        starts_line = not self._current.strip()
        if starts_line and _opens_block(self._lines_before):
            return _statement_indentation(self._lines_before)
        first = lines[0]
        if starts_line and first.indent and _CONTROL.match(first.code):
            return None
        header = [*self._lines_before, " " * first.indent + first.code]
        depth = _depth(first.code)
        for line in lines[1:]:
            if depth <= 0 or _opens_block(header):
                break
            header.append(" " * line.indent + line.code)
            depth += _depth(line.code)
        return _statement_indentation(header) if _opens_block(header) else None

    @cached_property
    def _lines_before(self) -> list[str]:
        """The code of the last lines before that of the completion which have some."""
        code = self._before_code[: len(self.before) - len(self._current)]
        return [line for line in code.split("\n") if line.strip()][-_HEADER_LINES:]

    def _enclosing(self, first: _Line) -> int:
        """The indentation of the statement that the block of `first` belongs to."""
        indents = map(_indentation, reversed(self._lines_before))
        return next((indent for indent in indents if indent < first.indent), 0)

    def _lines(self, text: str, code: str) -> Iterator[_Line]:
        """The lines of the completion that are not blank, the first with what is before it."""
        before = self._current_code
        for part in _LINE.finditer(text):
            line = before + part[0]
            if line.strip():
                end = part.start() + len(part[0].rstrip())
                words = (before + code[part.start() : part.end()]).strip()
                yield _Line(part.start(), end, _indentation(line), words)
            before = ""

    def _code_of(self, text: str) -> str:
        """The completion without its strings and comments."""
        has_hashes = self._has_hashes
        if has_hashes is None:
            has_hashes = bool(_INDENTED_LANGUAGE.search(text))
        return _code(self._unfinished + text, has_hashes)[len(self._unfinished) :]


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


def _is_passed_over(line: _Line, before: _Line, text: str) -> bool:
    """Whether `line` is a directive, or a comment that does not begin a new part of the text."""
    if _PREPROCESSOR.match(line.code):
        return True
    is_comment = not line.code or line.code.startswith("#")
    return is_comment and text.count("\n", before.end, line.start) <= 1


def _opens_block(lines: Sequence[str]) -> bool:
    return bool(lines) and bool(_OPENS_BLOCK.search(lines[-1]))


def _statement_indentation(lines: Sequence[str]) -> int:
    """The indentation of the last statement, which may begin some lines before the last one.

    A bracket at its end opens the block that follows.
    """
    depth = 0
    for line in reversed([*lines[:-1], lines[-1].rstrip().rstrip("({[")]):
        depth -= _depth(line)
        if depth <= 0:
            return _indentation(line or lines[-1])
    return _indentation(lines[-1])


def _shortened(text: str) -> str:
    """A string or comment without its contents, except what decides where it ends."""
    opener = re.match(r"\"{3}|'{3}|//|/\*|.", text, re.DOTALL)
    assert opener
    contents = text[opener.end() :]
    ending = _END_OF_OPEN.search(contents)
    assert ending
    return opener[0] + "x" * (ending.start() > 0) + ending[0]


def _code(text: str, has_hashes: bool) -> str:
    """`text` with all places unchanged, but blanks for comments and marks for strings."""

    def blank(found: re.Match[str]) -> str:
        fill = _IN_STRING if found["string"] else " "
        first = found[0][0] if found["string"] else " "
        return first + re.sub(r"[^\n]", fill, found[0][1:])

    pattern = _WITH_HASHES if has_hashes else _WITH_SLASHES
    return pattern.sub(blank, text)


def _depth(code: str) -> int:
    opened = sum(code.count(each) for each in _CLOSERS.values())
    return opened - sum(code.count(each) for each in _CLOSERS)


def _indentation(line: str) -> int:
    """The columns before the first word, with tabs of 8."""
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())
