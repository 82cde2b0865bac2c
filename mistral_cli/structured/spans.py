"""A grounded value: proof that it comes from the text, and where its parts stand there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mistral_cli.structured.schema import Schema, invalid, output_invalid
from mistral_cli.structured.source import Source

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` (exclusive) of the text, for the value at `path`.

    `path` is a JSON Pointer (RFC 6901).
    """

    path: str
    start: int
    end: int


def ground(value: Any, schema: Schema, source: Source, at: Path = ()) -> tuple[Any, list[Span]]:
    """`value` with its strings as they stand in `source`, and their spans; its path is `at`.

    Only choices of the schema may be absent from the text. Raises OutputInvalid, which the
    grammar rules out but for a `schema` that forbids the line break in the text's own words.
    """
    choices = _choices(schema)
    spans = []
    for path, scalar in list(_scalars(value, ())):
        text = isinstance(scalar, str)
        place = source.locate(scalar) if text else source.locate_number(scalar)
        if place is None:
            if scalar != "" and scalar not in choices:
                raise output_invalid(f"the text does not hold {scalar!r}")
            continue
        spans.append(Span(_pointer((*at, *path)), *place))
        if text and (literal := source.text[slice(*place)]) != scalar:
            changed = _replaced(value, path, literal)
            if not (scalar in choices and invalid(changed, schema)):
                value = changed
    if wrong := invalid(value, schema):
        raise output_invalid(wrong)
    return value, spans


def _scalars(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """The strings and numbers in a JSON value."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _scalars(inner, (*path, key))
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _choices(schema: Any) -> set[Any]:
    """The strings and numbers that `schema` gives to choose from."""
    found: set[Any] = set()
    if isinstance(schema, dict):
        for key in ("enum", "const"):
            found |= {scalar for _, scalar in _scalars(schema.get(key), ())}
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, dict | list):
            found |= _choices(inner)
    return found


def _replaced(value: Any, path: Path, new: str) -> Any:
    """A copy of `value` with `new` at `path`."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def _pointer(path: Path) -> str:
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)
