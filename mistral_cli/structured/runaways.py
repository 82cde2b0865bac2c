"""Find the place where a JSON answer runs away: it repeats itself, or grows beyond its text.

A key that an object has for a second time is such a place too, and would make the answer invalid.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from json import loads
from typing import Literal

from mistral_cli.structured.grammar import as_text
from mistral_cli.structured.json_cursor import JsonCursor, OpenContainer
from mistral_cli.structured.spans import ValuePath, pointer

Part = Literal["string", "list", "object", "number", "nesting"]

# What counts as a repetition: so many times the same, and so many characters in all.
# The second number is for what is short: rows of dashes, lists of zeros. Such a list may be meant,
# a string rarely; a hash has up to 64 digits.
_TIMES, _CHARACTERS, _CHARACTERS_IF_SHORT, _CHARACTERS_OF_STRING = 4, 60, 160, 96
_SHORT = 8

_EXACT_DIGITS = 15  # that a 64-bit float keeps: with more, a number that was ended is refused

_IDLE = 8  # items, such as numbers that count up

_WINDOW = 1200  # characters at the end in which a repetition is looked for
_EVERY = 16  # bytes between two looks, which take 0.2 ms each

_DIGIT, _DIGITS = re.compile(r"\d"), re.compile(r"\d+")
_WORDS = re.compile(r"\w+")
_SCALAR = re.compile(r'"(?P<string>(?:[^"\\]|\\.)*)"(?P<key>:)?|(?P<number>\d+)(?:[.\deE+-]*)')
_SPACES = re.compile(r"(?:\\[nrt]|\s)+")


@dataclass(frozen=True)
class Limits:
    """The most characters of a string, members of a list or object, and digits of a number.

    `idle` is the most members at the end of a list without a new word of the text.
    """

    characters: int
    members: int
    digits: int
    idle: int | None = None

    @classmethod
    def while_streaming(cls, text: str) -> Limits:
        """Limits that no answer about `text` exceeds if it would end by itself."""
        members = max(100, len(_WORDS.findall(text)))
        return cls(max(500, 2 * len(text)), members, 20 + _longest_number(text))

    @classmethod
    def when_cut(cls, text: str) -> Limits:
        """Limits for an answer that was cut: what is longer cannot all come from `text`."""
        members = 20 + len(_WORDS.findall(text)) // 2
        return cls(100 + len(text), members, 5 + _longest_number(text), _IDLE)


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


class RunawayWatch:
    """Reads an answer as it streams. `source` is the text that it is about.

    What the source itself repeats may be repeated as often, and what is `known` is not reported
    again. One object for one answer.
    """

    def __init__(self, source: str, limits: Limits, known: Iterable[Runaway] = ()) -> None:
        self._source, self._limits = source, limits
        self._cursor = JsonCursor()
        self._looked = 0
        self._known = {(each.path, each.part) for each in known}

    def feed(self, delta: str) -> Runaway | None:
        """Read `delta`; return what runs away at its end, each value once."""
        data = delta.encode()
        for start in range(0, len(data), _EVERY):
            for byte in data[start : start + _EVERY]:
                self._cursor.feed(byte)
            if found := self._new(self._beyond()):
                return found
            if len(self._cursor.text) - self._looked >= _EVERY:
                self._looked = len(self._cursor.text)
                if found := self._new(self._repeated()):
                    return found
        return None

    def idle(self) -> Iterator[Runaway]:
        """What is open and has gone on without a word of the source, the outermost first.

        Only for an answer that was cut: one that ends by itself may well add words of its own.
        """
        for depth, each in enumerate(self._cursor.open):
            last = self._last_of_source(each)
            after = each.ends[last + 1 :]
            is_idle = len(after) >= _TIMES and after[-1] - each.ends[last] >= _CHARACTERS
            if is_idle and (found := self._new(self._idle(each, last, depth))):
                yield found

    def _idle(self, each: OpenContainer, last: int, depth: int) -> Runaway | None:
        why = f"went on for {each.members - last} members without a new word of the text"
        return self._runaway(each.kind, each.ends[last], why, depth)

    def _last_of_source(self, each: OpenContainer) -> int:
        """The number of the last member with a word of the source that none before it has."""
        seen, last = set[str](), 1
        for number, (start, end) in enumerate(pairwise(each.ends), start=1):
            words = self._words.keys() & _WORDS.findall(self._decoded(start, end))
            if not words <= seen:
                seen |= words
                last = number
        return last

    def _new(self, found: Runaway | None) -> Runaway | None:
        if found:
            self._known.add((found.path, found.part))
        return found

    def _beyond(self) -> Runaway | None:
        """What exceeds a limit."""
        limits, cursor = self._limits, self._cursor
        length = len(cursor.text) - cursor.token_start - 1
        if cursor.in_text and length > limits.characters and not self._is_known_token():
            begun = self._decoded(cursor.token_start + 1)
            if len(begun) > limits.characters:
                why = f"has more than {limits.characters} characters"
                most = len(begun[: limits.characters].encode())
                return self._text_runs_away(cursor.token_start + 1 + most, why)
        if cursor.token == "number" and not self._is_known_token():
            written = self._decoded(cursor.token_start)
            digits = [*_DIGIT.finditer(written)]
            if len(digits) > limits.digits:
                most = min(limits.digits, _EXACT_DIGITS) if "." in written else limits.digits
                kept = cursor.token_start + digits[most].start()
                return self._runaway("number", kept, f"has more than {limits.digits} digits")
        for depth, each in enumerate(cursor.open):
            if each.repeated is not None:
                why = f"has the key {each.key!r} twice"
                if found := self._runaway("object", each.ends[each.repeated], why, depth):
                    return found
            if limits.idle and each.kind == "list" and each.members > limits.idle:
                last = self._last_of_source(each)
                if each.members - last > limits.idle and (found := self._idle(each, last, depth)):
                    return found
            if each.members > limits.members:
                why = f"has more than {limits.members} members"
                if found := self._runaway(each.kind, each.ends[limits.members], why, depth):
                    return found
        return None

    def _repeated(self) -> Runaway | None:
        """The value whose end repeats itself."""
        cursor = self._cursor
        if self._is_known_token():
            return None
        short = _CHARACTERS_OF_STRING if cursor.in_text else _CHARACTERS_IF_SHORT
        found = _repetition(bytes(cursor.text[-_WINDOW:]), short)
        if not found:
            return None
        period, run = found
        start = len(cursor.text) - run
        if cursor.in_text:  # of a string, only what lies in it
            inside = max(start, cursor.token_start + 1)
            if _is_repetition(period, len(cursor.text) - inside, short):
                if self._is_in_source(self._decoded(inside)):
                    return None
                return self._text_runs_away(inside + period, "repeats itself")
        return self._repeated_member(start, period)

    def _repeated_member(self, start: int, period: int) -> Runaway | None:
        opened = self._cursor.open
        depth = sum(each.start < start for each in opened) - 1
        if depth < 0:
            return None
        deeper = [each for each in opened[depth + 1 :] if each.start >= start + period]
        if len(deeper) >= _TIMES - 1:  # every period has opened one more
            level = len(opened) - len(deeper)
            return self._runaway("nesting", deeper[0].start, "repeats itself", level)
        inner = opened[depth]
        # The separator before a member may belong to the period.
        ends = inner.ends[bisect_left(inner.ends, start + period - 2, lo=1) :]
        if len(ends) < _TIMES - 1 or self._is_known(inner.kind, depth):
            return None
        kept = ends[0]
        if inner.kind == "list":
            often = self._times_in_source(self._decoded(ends[-1] - period, ends[-1]))
            if inner.members <= often:
                return None
            copies = self._copies(inner, ends[-1], period)
            if len(copies) <= often:
                return None
            kept = copies[-often]
        return self._runaway(inner.kind, kept, "repeats itself", depth)

    def _copies(self, inner: OpenContainer, end: int, period: int) -> list[int]:
        """The ends of the equal items (or groups of items) of a list up to `end`, the last first.

        Each has `period` bytes, the first of the list fewer: no separator is before it.
        """
        text, copies = self._cursor.text, list[int]()
        items = bytes(text[end - period : end])
        while end > inner.start and text.endswith(items, inner.start, end):
            copies.append(end)
            end -= period
        if text[inner.start + 1 : end] == items.removeprefix(b", "):
            copies.append(end)
        return copies

    def _is_in_source(self, written: str) -> bool:
        """Whether the source has the characters of a string, which are `written` as in JSON."""
        # A grounded string has single spaces where the source has line breaks.
        spaced = _one_space(written)
        return written in self._escaped_source or spaced in self._spaced_source

    def _times_in_source(self, items: str) -> int:
        """How often a list may have the `items`: as often as the source has all their words."""
        words = Counter[str]()
        for scalar in _SCALAR.finditer(items):
            if scalar["string"] and not scalar["key"]:
                words.update(_WORDS.findall(_unescaped(scalar["string"])))
            elif scalar["number"]:
                words[scalar["number"]] += 1
        return max(1, min((self._words[word] // words[word] for word in words), default=1))

    @cached_property
    def _words(self) -> Counter[str]:
        return Counter(_WORDS.findall(self._source))

    @cached_property
    def _escaped_source(self) -> str:
        return as_text(self._source)[1:-1]

    @cached_property
    def _spaced_source(self) -> str:
        return _one_space(self._escaped_source)

    def _text_runs_away(self, kept: int, why: str) -> Runaway | None:
        """A string that runs away, or the object of such a key."""
        cursor = self._cursor
        if cursor.token == "string":
            return self._runaway("string", kept, why)
        level = len(cursor.open) - 1
        return self._runaway("object", cursor.open[-1].whole, f"has a key that {why}", level)

    def _is_known_token(self) -> bool:
        """Whether the string, key or number that is open runs away, and that is known."""
        cursor = self._cursor
        if cursor.token == "key":
            return self._is_known("object", len(cursor.open) - 1)
        return cursor.token in ("string", "number") and self._is_known(cursor.token)

    def _is_known(self, part: Part, depth: int | None = None) -> bool:
        path = self._cursor.path[:depth]
        if part == "nesting":  # what is nested in it goes on with it
            known = (each for each, kind in self._known if kind == part)
            return any(path[: len(each)] == each for each in known)
        return (path, part) in self._known

    def _runaway(self, part: Part, kept: int, why: str, depth: int | None = None) -> Runaway | None:
        """The value with so many containers around it, unless it is known.

        The depth None stands for the innermost value.
        """
        if self._is_known(part, depth):  # before all that takes as long as the answer is
            return None
        cursor = self._cursor
        start = cursor.token_start if depth is None else cursor.open[depth].start
        text = self._decoded(0, kept)
        if depth is None:  # not half an escape, nor a number like "1."
            text = text.encode()[: JsonCursor(text.encode()).whole()].decode()
        return Runaway(cursor.path[:depth], part, len(self._decoded(0, start)), len(text), why)

    def _decoded(self, start: int, end: int | None = None) -> str:
        return self._cursor.text[start:end].decode("utf-8", "ignore")


def _one_space(written: str) -> str:
    return _SPACES.sub(" ", written)


def _unescaped(written: str) -> str:
    try:
        return str(loads(f'"{written}"', strict=False))
    except ValueError:
        return written


def _longest_number(text: str) -> int:
    return max(map(len, _DIGITS.findall(text)), default=0)


def _is_repetition(period: int, run: int, least_if_short: int) -> bool:
    least = _CHARACTERS if period >= _SHORT else least_if_short
    return run >= max(least, _TIMES * period)


def _repetition(text: bytes, least_if_short: int) -> tuple[int, int] | None:
    """The period of the end of `text`, and how long it repeats; None if it does not.

    A short period must repeat for `least_if_short` bytes.

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
            return found if _is_repetition(*found, least_if_short) else None
    return None
