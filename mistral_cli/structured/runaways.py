"""Find the place where a JSON answer runs away: it repeats itself, or grows beyond its text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from mistral_cli.structured.spans import ValuePath, pointer

Part = Literal["string", "list", "object", "number", "nesting"]

# What counts as a repetition: so many times the same, and so many characters in all.
# The second number is for what is short: rows of dashes, lists of zeros.
_TIMES, _CHARACTERS, _CHARACTERS_IF_SHORT = 4, 60, 160
_SHORT = 8

_WINDOW = 1200  # characters at the end in which a repetition is looked for
_EVERY = 16  # characters between two looks, which take 0.2 ms each

_DIGITS = re.compile(r"\d+")
_WORDS = re.compile(r"\w+")
# The characters of a JSON string, none of them half: not an escape, and not a pair of escapes.
_WHOLE = re.compile(
    r"(?:[^\\]|\\u[dD][89abAB][\da-fA-F]{2}\\u[\da-fA-F]{4}|\\u(?![dD][89abAB])[\da-fA-F]{4}|\\[^u])*"
)


@dataclass(frozen=True)
class Limits:
    """The most characters of a string, members of a list or object, and digits of a number."""

    characters: int
    members: int
    digits: int

    @classmethod
    def while_streaming(cls, text: str) -> Limits:
        """Limits that no answer about `text` exceeds if it would end by itself."""
        members = max(100, len(_WORDS.findall(text)))
        return cls(max(500, 2 * len(text)), members, 20 + _longest_number(text))

    @classmethod
    def when_cut(cls, text: str) -> Limits:
        """Limits for an answer that was cut: what is longer cannot all come from `text`."""
        members = 20 + len(_WORDS.findall(text)) // 2
        return cls(100 + len(text), members, 5 + _longest_number(text))


@dataclass(frozen=True)
class Runaway:
    """The value at `path` runs away.

    It begins at the character `start` of the answer. The first `kept` characters are worth keeping;
    the value should end after them.
    """

    path: ValuePath
    part: Part
    start: int
    kept: int
    why: str

    @property
    def message(self) -> str:
        """One line for the user."""
        what = "value" if self.part == "nesting" else self.part
        at = f" at {pointer(self.path)}" if self.path else ""
        return f"the {what}{at} {self.why}, and was ended"


@dataclass
class _Container:
    """An open list or object, and where its complete members end."""

    kind: Literal["list", "object"]
    start: int
    key: str = ""
    ends: list[int] = field(default_factory=list)

    @property
    def step(self) -> str | int:
        """The key or the index of the member that is being written."""
        return self.key if self.kind == "object" else len(self.ends)


class RunawayWatch:
    """Reads an answer as it streams. `source` is the text that it is about.

    What the source itself repeats may be repeated, and what is `known` is not reported again. One
    object for one answer.
    """

    def __init__(self, source: str, limits: Limits, known: Iterable[Runaway] = ()) -> None:
        self._source, self._limits = source, limits
        self._text = ""
        self._stack: list[_Container] = []
        self._string: int | None = None  # where the open string begins, its quote included
        self._number: int | None = None
        self._digits = 0
        self._is_key = False
        self._escaped = False
        self._looked = 0
        self._known = {(each.path, each.part) for each in known}

    def feed(self, delta: str) -> Runaway | None:
        """Read `delta`; return what runs away at its end, each value once."""
        for character in delta:
            self._text += character
            self._read(character, len(self._text))
            if found := self._new(self._beyond()):
                return found
        if len(self._text) - self._looked < _EVERY:
            return None
        self._looked = len(self._text)
        return self._new(self._repeated())

    def idle(self) -> Iterator[Runaway]:
        """What is open and has gone on without a word of the source, the outermost first.

        Only for an answer that was cut: one that ends by itself may well add words of its own.
        """
        in_source = set(_WORDS.findall(self._source))
        for depth, each in enumerate(self._stack):
            seen, last, start = set[str](), 0, each.start
            for number, end in enumerate(each.ends):
                words = in_source.intersection(_WORDS.findall(self._text, start, end))
                start = end
                if not words <= seen:
                    seen |= words
                    last = number
            after = each.ends[last + 1 :]
            if len(after) >= _TIMES and after[-1] - each.ends[last] >= _CHARACTERS:
                why = f"went on for {len(after)} members without a new word of the text"
                found = self._runaway(each.kind, each.ends[last], why, depth - len(self._stack))
                if (found.path, found.part) not in self._known:
                    yield found

    def _new(self, found: Runaway | None) -> Runaway | None:
        if not found or (found.path, found.part) in self._known:
            return None
        self._known.add((found.path, found.part))
        return found

    def _read(self, character: str, end: int) -> None:
        if self._string is not None:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._end_string(end)
            return
        if self._number is not None and character not in "0123456789+-.eE":
            self._number = None
            self._member_ends(end - 1)
        if character == '"':
            self._string = end - 1
        elif character in "-0123456789":
            if self._number is None:
                self._number, self._digits = end - 1, 0
            self._digits += character != "-"
        elif character in "[{":
            self._stack.append(_Container("list" if character == "[" else "object", end - 1))
            self._is_key = character == "{"
        elif character in "]}":
            self._end_container(end)
        elif character == ":":
            self._is_key = False
        elif character == ",":
            self._is_key = bool(self._stack) and self._stack[-1].kind == "object"
        elif character in "el" and self._text.endswith(("true", "false", "null")):
            self._member_ends(end)

    def _end_string(self, end: int) -> None:
        start, self._string = self._string, None
        if self._is_key and self._stack and start is not None:
            self._stack[-1].key = self._text[start + 1 : end - 1]
        else:
            self._member_ends(end)

    def _end_container(self, end: int) -> None:
        if self._stack:
            self._stack.pop()
        self._member_ends(end)

    def _member_ends(self, end: int) -> None:
        if self._stack:
            self._stack[-1].ends.append(end)

    def _beyond(self) -> Runaway | None:
        """What has just exceeded a limit."""
        limits, length = self._limits, len(self._text)
        if self._string is not None and length - self._string - 1 > limits.characters:
            why = f"has more than {limits.characters} characters"
            if self._is_key:
                return self._key(f"has a key that {why}")
            return self._runaway("string", self._string + 1 + limits.characters, why)
        if self._number is not None and self._digits > limits.digits:
            return self._runaway("number", length - 1, f"has more than {limits.digits} digits")
        for depth, each in enumerate(self._stack):
            level = depth - len(self._stack)
            if len(each.ends) > limits.members:
                why = f"has more than {limits.members} members"
                return self._runaway(each.kind, each.ends[limits.members - 1], why, level)
        return None

    def _repeated(self) -> Runaway | None:
        """The value whose end repeats itself."""
        found = _repetition(self._text[-_WINDOW:])
        if not found:
            return None
        period, run = found
        start = len(self._text) - run
        if self._string is not None:
            inside = max(start, self._string + 1)
            if not _is_repetition(period, len(self._text) - inside):
                return self._repeated_member(start, period)
            start = inside
            if self._text[start:] in self._source:
                return None
            if self._is_key:
                return self._key("has a key that repeats itself")
            return self._runaway("string", start + period, "repeats itself")
        return self._repeated_member(start, period)

    def _repeated_member(self, start: int, period: int) -> Runaway | None:
        depth = max(
            (depth for depth, each in enumerate(self._stack) if each.start < start), default=-1
        )
        if depth < 0:
            return None
        deeper = [each for each in self._stack[depth + 1 :] if each.start >= start + period]
        if len(deeper) >= _TIMES - 1:  # every period has opened one more
            level = self._stack.index(deeper[0]) - len(self._stack)
            return self._runaway("nesting", deeper[0].start, "repeats itself", level)
        inner = self._stack[depth]
        # The separator before a member may belong to the period.
        ends = [end for end in inner.ends if end >= start + period - 2]
        if len(ends) < _TIMES - 1:
            return None
        return self._runaway(inner.kind, ends[0], "repeats itself", depth - len(self._stack))

    def _key(self, why: str) -> Runaway | None:
        if not self._stack:
            return None
        inner = self._stack[-1]
        kept = inner.ends[-1] if inner.ends else inner.start + 1
        return self._runaway("object", kept, why, -1)

    def _runaway(self, part: Part, kept: int, why: str, level: int | None = None) -> Runaway:
        path: ValuePath = tuple(each.step for each in self._stack[:level])
        start = self._stack[level].start if level else self._string or self._number or 0
        if part == "string":
            whole = _WHOLE.match(self._text, start + 1, kept)
            kept = whole.end() if whole else kept
        if part == "number":
            kept = len(self._text[:kept].rstrip("+-.eE"))
        return Runaway(path, part, start, kept, why)


def _longest_number(text: str) -> int:
    return max(map(len, _DIGITS.findall(text)), default=0)


def _is_repetition(period: int, run: int) -> bool:
    least = _CHARACTERS if period >= _SHORT else _CHARACTERS_IF_SHORT
    return run >= max(least, _TIMES * period)


def _repetition(text: str) -> tuple[int, int] | None:
    """The period of the end of `text`, and how long it repeats; None if it does not.

    The Z algorithm on the reversed text: z[p] characters at its end also stand p characters
    before (Gusfield, Algorithms on Strings, Trees and Sequences, 1.4).
    """
    reverse, length = text[::-1], len(text)
    z = [0] * length
    left = right = 0
    for index in range(1, length // _TIMES + 1):
        if index < right:
            z[index] = min(right - index, z[index - left])
        while index + z[index] < length and reverse[z[index]] == reverse[index + z[index]]:
            z[index] += 1
        if index + z[index] > right:
            left, right = index, index + z[index]
        if z[index] + index >= max(_CHARACTERS, _TIMES * index):
            # The shortest period: a row of dashes also repeats eight of them.
            found = index, z[index] + index
            return found if _is_repetition(*found) else None
    return None
