"""Where a JSON text that is being written stands: its open containers, and what is half written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from json import loads
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mistral_cli.structured.spans import ValuePath

Token = Literal["key", "string", "number", "word"]

_NUMBER = b"0123456789+-.eE"
_WORDS = (b"true", b"false", b"null")
_LONGEST_WORD = max(map(len, _WORDS))
_SPACES = b" \n\r\t"
# Half an escape at the end of a string, and the first half of a pair of escapes.
_HALF = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[\da-fA-F]{0,3})?|\\u[dD][89abAB][\da-fA-F]{2})\Z")


@dataclass
class OpenContainer:
    """An open list or object that begins at `start`.

    After each of the bytes `ends` it could end, or go on with another member: no member is half
    written there. The first is behind its bracket. `repeated` is the number of members before the
    first key that it has for a second time.
    """

    kind: Literal["list", "object"]
    start: int
    ends: list[int]
    key: str | None = None
    keys: set[str] = field(default_factory=set)
    repeated: int | None = None

    @property
    def whole(self) -> int:
        """The end of its last member that is complete."""
        return self.ends[-1]

    @property
    def members(self) -> int:
        """The number of its complete members."""
        return len(self.ends) - 1

    @property
    def step(self) -> str | int | None:
        """The key or the index of the member that is being written; None before the first key."""
        return self.key if self.kind == "object" else self.members

    def key_ends(self, key: str) -> None:
        """Note the `key` of the member that is being written."""
        if key in self.keys and self.repeated is None:
            self.repeated = self.members
        self.key = key
        self.keys.add(key)


class JsonCursor:
    """Reads a JSON text byte by byte. It never fails, whatever the text is."""

    def __init__(self, text: bytes = b"") -> None:
        self.text = bytearray()
        self.open: list[OpenContainer] = []
        self.token: Token | None = None
        self.token_start = 0
        self.expects_key = False
        self.expects_value = True
        self._escaped = False
        for byte in text:
            self.feed(byte)

    @property
    def path(self) -> ValuePath:
        """The path of the value that is being written, or of the next one.

        In an object without a key it is that of the object.
        """
        return tuple(step for each in self.open if (step := each.step) is not None)

    @property
    def in_text(self) -> bool:
        """Whether a string or a key is open."""
        return self.token in ("string", "key")

    @property
    def at_value(self) -> bool:
        """Whether a value begins with the next byte."""
        return self.expects_value and self.token is None

    def feed(self, byte: int) -> None:
        """Read the next byte."""
        end = len(self.text)
        self.text.append(byte)
        if self.token in ("string", "key"):
            self._in_string(byte, end + 1)
            return
        if self.token == "number" and byte not in _NUMBER:
            self._value_ends(end)
        if self.token in ("number", "word"):
            written = (
                self.text[self.token_start :] if end - self.token_start < _LONGEST_WORD else b""
            )
            if bytes(written) in _WORDS:
                self._value_ends(end + 1)
        elif byte == ord('"'):
            self._begin("key" if self.expects_key else "string", end)
        elif byte in b"[{":
            kind: Literal["list", "object"] = "list" if byte == ord("[") else "object"
            self.open.append(OpenContainer(kind, end, [end + 1]))
            self.expects_key, self.expects_value = kind == "object", kind == "list"
        elif byte in b"]}":
            if self.open:
                self.open.pop()
            self._value_ends(end + 1)
        elif byte == ord(","):
            is_object = bool(self.open) and self.open[-1].kind == "object"
            self.expects_key, self.expects_value = is_object, not is_object
        elif byte == ord(":"):
            self.expects_value = True
        elif byte not in _SPACES:
            self._begin("number" if byte in _NUMBER else "word", end)

    def whole(self) -> int:
        """The end of the text without a key that has no value, and half an escape or a number.

        A string that has only begun goes too.
        """
        if self.token == "string":
            half = _HALF.search(self.text, self.token_start + 1)
            end = half.start(1) if half else len(self.text)
            return end if end > self.token_start + 1 else self._before_member()
        if self.token == "number":
            number = bytes(self.text[self.token_start :])
            digits = number.rstrip(b"+-.eE")
            return self.token_start + len(digits) if digits else self._before_member()
        if self.token == "word" or not self.open:
            return len(self.text)
        return self._before_member()

    def _before_member(self) -> int:
        return self.open[-1].whole if self.open else 0

    def _begin(self, token: Token, start: int) -> None:
        self.token, self.token_start = token, start

    def _in_string(self, byte: int, end: int) -> None:
        if self._escaped:
            self._escaped = False
        elif byte == ord("\\"):
            self._escaped = True
        elif byte == ord('"'):
            if self.token == "key":
                self.open[-1].key_ends(_key(bytes(self.text[self.token_start : end])))
                self.token, self.expects_key = None, False
            else:
                self._value_ends(end)

    def _value_ends(self, end: int) -> None:
        self.token, self.expects_value, self.expects_key = None, False, False
        if self.open:
            self.open[-1].ends.append(end)


def _key(literal: bytes) -> str:
    """The key that is written as `literal`; as it stands if the engine did not enforce JSON."""
    try:
        return str(loads(literal))
    except ValueError:
        return literal[1:-1].decode("utf-8", "replace")
