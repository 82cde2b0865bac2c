"""The shortest way to complete a JSON text under its grammar."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.grammar import as_text
from mistral_cli.structured.json_cursor import JsonCursor, OpenContainer

if TYPE_CHECKING:
    from mistral_cli.structured.spans import ValuePath

_MOST = 2000  # bytes of a completion
_STEPS = 2500  # bytes of all walks for one text, each of which takes some 10 µs
_WALKS = 8
_SHORTER = 8  # bytes that a walk must save: the first has plainer values
_OTHER_KIND = 0.3  # of the lists and objects in a walk that varies are what else may stand there

_FILLER = b"-1xa0A"  # in a string that must not be empty; dates of zeros are invalid
_VALUES = b'n"0123456789-[{ft'  # how values begin, the least telling first: null, "", 0
_ENDINGS = b'}],"'  # of a list, an object or a number, or the way to the next member
_DIGITS = b"1234567890."
_PLAIN = (1 << 128) - 1 & ~(1 << ord("\\"))  # ASCII, and no escape


@dataclass(frozen=True)
class Gap:
    """A value at `path` that a completion had to invent; it begins at the character `start`."""

    path: ValuePath
    start: int


@dataclass(frozen=True)
class Completion:
    """A JSON `text` that the grammar accepts, and how it continues the beginning of an answer.

    It has the first `kept` characters of that beginning: a key without a value, or half an escape,
    cannot be kept. `cut` is the path of the value that was being written there. `gaps` are values
    that were missing, where the grammar leaves a choice.
    """

    text: str
    kept: int
    cut: ValuePath
    gaps: tuple[Gap, ...] = ()

    @property
    def ending(self) -> str:
        """What follows the characters that were kept."""
        return self.text[self.kept :]


def complete_json(grammar: str, beginning: str, required: Collection[str]) -> Completion | None:
    """Complete the `beginning` of an answer; None if the grammar needs too long a text for that.

    Strings and lists end as soon as they may, and optional properties are left out. `required` are
    the names of properties that a schema requires; the grammar alone decides what is allowed.
    """
    return next(completions(grammar, beginning, required), None)


def completions(grammar: str, beginning: str, required: Collection[str]) -> Iterator[Completion]:
    """The completion of `beginning`, then those that keep less and less of it.

    They leave out the member that was being written in one of the open lists and objects, then half
    of its members, and so on. A scalar that could only be completed by inventing the rest of it
    comes last.
    """
    data = beginning.encode()
    names = frozenset(as_text(name)[1:-1].encode() for name in required)
    cursor, path_of = JsonCursor(data), dict[int, "ValuePath"]()
    for end, depth in [(cursor.whole(), len(cursor.open)), *_earlier_ends(cursor), (0, 0)]:
        path_of.setdefault(end, cursor.path[:depth])
    invented, before = None, ""
    for end, path in sorted(path_of.items(), reverse=True):
        if walk := _shortest(grammar, data[:end], names):
            found = walk.completion(end, path)
            if walk.invents:
                invented = found
            elif found.text != before:
                yield found
                before = found.text
    if invented:
        yield invented


def _earlier_ends(cursor: JsonCursor) -> Iterator[tuple[int, int]]:
    """Where the members of open containers end: the last of each, the one half way, and so on.

    The depth beside each is that of the value that was cut.
    """
    for depth, each in enumerate(cursor.open, start=1):
        yield each.whole, depth
        least = 0 if each.kind == "list" else 1  # else an object would have placeholders alone
        index = each.members // 2
        while index >= least:
            yield each.ends[index], depth - 1
            if index == 0:
                break
            index //= 2


def with_least_value(grammar: str, beginning: str, required: Collection[str]) -> str | None:
    """The `beginning` of an answer, which ends where a value begins, with the shortest such value.

    None if the grammar needs too long a text to complete it.
    """
    data = beginning.encode()
    walk = _shortest(grammar, data, frozenset(as_text(name)[1:-1].encode() for name in required))
    cursor = JsonCursor(data)
    if not walk or not cursor.open:
        return None
    parent = cursor.open[-1]
    members = parent.members
    for byte in bytes(walk.cursor.text[len(data) :]):
        cursor.feed(byte)
        if parent.members > members:
            return cursor.text[: parent.whole].decode()
    return None


def admits(grammar: str, beginning: str) -> bool:
    """Whether an answer may begin like this."""
    matcher = _matcher(grammar).deep_copy()
    matcher.consume_tokens(list(beginning.encode()))
    return not matcher.is_error()


def last_ending(grammar: str, text: str, start: int, closing: bytes) -> int | None:
    """The last place in `text`, from `start` on, where a byte of `closing` may follow, if any."""
    matcher, places, wanted = _matcher(grammar).deep_copy(), list[int](), _mask(closing)
    matcher.consume_tokens(list(text[:start].encode()))
    for place in range(start, len(text) + 1):
        if int.from_bytes(matcher.compute_bitmask()[:32], "little") & wanted:
            places.append(place)
        matcher.consume_tokens(list(text[place : place + 1].encode()))
        if matcher.is_error():
            break
    # After a backslash, a quote does not end a string.
    whole = (each for each in reversed(places) if _is_whole(text[:each].encode()))
    return next(whole, None)


def is_complete(text: str) -> bool:
    """Whether `text`, which a grammar admits, is one JSON value with an end."""
    cursor = JsonCursor(text.encode())
    is_open = cursor.open or cursor.token in ("string", "key", "word")
    return not is_open and cursor.whole() == len(cursor.text) > 0


def _is_whole(text: bytes) -> bool:
    return JsonCursor(text).whole() == len(text)


def required_names(schema: Any) -> frozenset[str]:
    """The properties that any part of `schema` requires."""
    parts = schema.values() if isinstance(schema, dict) else schema
    inner = (required_names(each) for each in parts if isinstance(each, dict | list))
    own = schema.get("required") if isinstance(schema, dict) else None
    names = [name for name in own if isinstance(name, str)] if isinstance(own, list) else []
    return frozenset(names).union(*inner)


@dataclass
class _Walk:
    """A walk to the end of a text, byte by byte.

    `varies` makes it choose at random where no byte is better. `choices` counts those places.
    """

    matcher: Any
    cursor: JsonCursor
    names: Collection[bytes]
    varies: random.Random | None = None
    choices: int = 0
    invents: bool = False
    gaps: list[Gap] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = len(self.cursor.text)
        self._scalar = self.cursor.token_start if self.cursor.token else None
        self._before = self._seen = 0  # allowed one byte before, and written in this text
        self._value: _MissingValue | None = None

    @property
    def length(self) -> int:
        """The bytes that it has written."""
        return len(self.cursor.text) - self._start

    def run(self, most: int) -> bool:
        """Write up to `most` bytes. Returns whether the text is complete."""
        while self.cursor.open or not self.matcher.is_accepting():
            allowed = int.from_bytes(self.matcher.compute_bitmask()[:32], "little")
            if self.length >= most or not allowed:
                return False
            is_choice = bool(allowed & (allowed - 1))
            byte = self._choose(allowed) if is_choice else allowed.bit_length() - 1
            self._write(byte, is_choice=is_choice)
            self._before = allowed
        return True

    def completion(self, kept: int, cut: ValuePath) -> Completion:
        """The text that it has completed."""
        text = bytes(self.cursor.text)
        gaps = (Gap(each.path, len(text[: each.start].decode())) for each in self.gaps)
        return Completion(text.decode(), len(text[:kept].decode()), cut, tuple(gaps))

    def _write(self, byte: int, *, is_choice: bool) -> None:
        cursor = self.cursor
        if cursor.at_value and byte not in b" ]" and self._value is None:
            self._value = _MissingValue(cursor)
        if self._value and is_choice and not self._value.chosen:
            self._value.chosen = True
            self.gaps.append(Gap(self._value.path, self._value.start))
        self.matcher.consume_token(byte)
        cursor.feed(byte)
        self._seen = self._seen | 1 << byte if cursor.in_text else 0
        if self._value and self._value.ended(cursor):
            self._value = None

    def _choose(self, allowed: int) -> int:
        cursor = self.cursor
        if cursor.token == "key":
            return self._choose_in_key(allowed)
        if cursor.at_value and not allowed >> ord("]") & 1:
            byte = _first(_VALUES, allowed)
            if byte in b"[{" and self.varies and self.varies.random() < _OTHER_KIND:
                return self.varies.choice(_bytes(allowed))
            return byte
        endings = b'"' if cursor.token == "string" else _ENDINGS
        byte = _first(endings, allowed)
        if byte in endings:
            return byte
        if cursor.token and cursor.token_start == self._scalar:
            self.invents = True
        if cursor.token == "string":
            return self._choose_character(allowed)
        return _first(_DIGITS, allowed)

    def _choose_in_key(self, allowed: int) -> int:
        """A byte towards a required key, or else the end of the key."""
        written = bytes(self.cursor.text[self.cursor.token_start + 1 :])
        quoted = [name + b'"' for name in self.names if name.startswith(written)]
        towards = _mask(name[len(written)] for name in quoted) & allowed
        if not towards and allowed >> ord('"') & 1:
            return ord('"')
        return self._choose_character(towards or allowed)

    def _choose_character(self, allowed: int) -> int:
        """A character of a text that must not end yet; a new one leads on, through a pattern."""
        if not allowed & (allowed - 1):
            return allowed.bit_length() - 1
        self.choices += 1
        plain = allowed & _PLAIN or allowed
        pool = plain & ~self._before & ~self._seen or plain
        if self.varies:
            return self.varies.choice(_bytes(pool))
        unused = pool & _mask(_FILLER) & ~self._seen  # one of each kind, as \w anywhere needs
        return _first(_FILLER, unused or pool)


class _MissingValue:
    """A value that a walk is writing, where none had begun."""

    def __init__(self, cursor: JsonCursor) -> None:
        self.path, self.start, self.chosen = cursor.path, len(cursor.text), False
        self._parent: OpenContainer | None = cursor.open[-1] if cursor.open else None
        self._members = self._parent.members if self._parent else 0

    def ended(self, cursor: JsonCursor) -> bool:
        """Whether its last byte was written."""
        parent = self._parent
        if parent is None:
            return not cursor.open and not cursor.token
        return parent.members > self._members


def _first(preferred: bytes, allowed: int) -> int:
    lowest = (allowed & -allowed).bit_length() - 1
    return next((byte for byte in preferred if allowed >> byte & 1), lowest)


def _bytes(allowed: int) -> list[int]:
    return [byte for byte in range(256) if allowed >> byte & 1]


def _mask(allowed: Iterable[int]) -> int:
    return functools.reduce(lambda mask, byte: mask | 1 << byte, allowed, 0)


def _shortest(grammar: str, beginning: bytes, names: Collection[bytes]) -> _Walk | None:
    """The shortest of a few walks from `beginning`; None if none of them ends.

    The first chooses the same byte each time. Where it chose among the alternatives of a schema,
    another may meet one that ends earlier.
    """
    matcher, cursor = _matcher(grammar).deep_copy(), JsonCursor(beginning)
    matcher.consume_tokens(list(beginning))
    if matcher.is_error():
        return None
    best, steps = None, 0
    for number in range(_WALKS):
        most = best.length - _SHORTER if best else min(_MOST, _STEPS - steps)
        walk = _Walk(
            matcher.deep_copy(),
            copy.deepcopy(cursor),
            names,
            random.Random(number) if number else None,
        )
        if walk.run(most):
            best = walk
        steps += walk.length
        if steps >= _STEPS or (not walk.choices and not number):
            break
    return best


@functools.lru_cache(maxsize=8)
def _matcher(grammar: str) -> Any:
    import llguidance

    return llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0)
