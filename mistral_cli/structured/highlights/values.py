"""The values of an extraction, each with its place in the text or the reason why it has none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.spans import ValuePath, ValueSpan, pointer
from mistral_cli.system.controls import on_one_line

if TYPE_CHECKING:
    from mistral_cli.structured.grounding.text_index import CharSpan, TextIndex
    from mistral_cli.structured.schema import Schema

WHOLE = "(the value)"
"""The name of an answer that is itself a string or a number."""

_LONGEST_NAME = 100
_LONGEST_VALUE = 300


class Kind(StrEnum):
    """Where a value comes from, as a word for people."""

    FOUND = "found"
    MISSING = "not in the text"
    CHOICE = "choice"
    NULL = "null"
    EMPTY = "empty"


@dataclass(frozen=True)
class PlacedValue:
    """One value of an extraction.

    `name` is its path, such as `people[0].city`, and `key` the same without indexes. `text` shows
    the value on one line.
    """

    name: str
    key: str
    text: str
    kind: Kind
    span: CharSpan | None = None


def placed_values(
    data: Any, spans: Sequence[ValueSpan], schema: Schema, index: TextIndex
) -> list[PlacedValue]:
    """Return the values in `data`, in order.

    A value without a known span is located in the text. One that is not there may be a choice of
    the schema.
    """
    length = len(index.text)
    known = {s.path: (s.start, s.end) for s in spans if 0 <= s.start < s.end <= length}
    choices = _choices(schema)
    located: dict[tuple[type, Any], CharSpan | None] = {}
    placed = []
    for path, value in _leaves(data):
        span = known.get(pointer(path))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if span is None and (is_number or isinstance(value, str)):
            seen = (type(value), value)
            if seen not in located:
                located[seen] = index.locate_number(value) if is_number else index.locate(value)
            span = located[seen]
        kind = Kind.FOUND if span else _kind(value, choices)
        placed.append(PlacedValue(_name(path), _key(path), _shown(value), kind, span))
    return placed


def _leaves(data: Any) -> Iterator[tuple[ValuePath, Any]]:
    """Yield what contains no other value; not recursive, since people edit results files."""
    pending: list[tuple[ValuePath, Any]] = [((), data)]
    while pending:
        path, value = pending.pop()
        if value and isinstance(value, dict | list):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            pending += reversed([((*path, key), each) for key, each in inner])
        else:
            yield path, value


def _kind(value: Any, choices: frozenset[str]) -> Kind:
    """Return what a value is that does not come from the text."""
    if value is None:
        return Kind.NULL
    if isinstance(value, dict | list) or value == "":
        return Kind.EMPTY
    if isinstance(value, bool) or json.dumps(value) in choices:
        return Kind.CHOICE
    return Kind.MISSING


def _shown(value: Any) -> str:
    text = value if value and isinstance(value, str) else json.dumps(value)
    return "" if value is None else on_one_line(text, _LONGEST_VALUE)


def _choices(schema: Any) -> frozenset[str]:
    """Return the strings and numbers that the schema offers as choices, as JSON."""
    choices = set()
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            offered = part.get("enum", [])
            for choice in (*(offered if isinstance(offered, list) else ()), part.get("const")):
                choices |= {json.dumps(leaf) for _, leaf in _leaves(choice)}
        pending += part.values() if isinstance(part, Mapping) else ()
        pending += part if isinstance(part, list) else ()
    return frozenset(choices)


def _name(path: ValuePath) -> str:
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return on_one_line(name.removeprefix("."), _LONGEST_NAME) or WHOLE


def _key(path: ValuePath) -> str:
    names = [key for key in path if isinstance(key, str)]
    return on_one_line(".".join(names), _LONGEST_NAME) or WHOLE
