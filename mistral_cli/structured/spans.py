"""A grounded value: proof that it comes from the text, and where its parts stand there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.grammar import ASSERTIONS
from mistral_cli.structured.schema import Schema, invalid, output_invalid

if TYPE_CHECKING:
    from mistral_cli.structured.text_index import Source

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

    Only choices of the schema may be absent from the text. A string stays with single spaces
    where `schema` forbids the line break or the longer gap in the text. Raises OutputInvalid,
    which the grammar rules out.
    """
    choices = _choices(schema)
    spans = []
    for path, scalar in list(_scalars(value, ())):
        text = isinstance(scalar, str)
        place = source.locate(scalar) if text else source.locate_number(scalar)
        if place is None and scalar != "" and scalar not in choices:
            raise output_invalid(f"the text does not hold {scalar!r}")
        if place and scalar not in choices:
            spans.append(Span(_pointer((*at, *path)), *place))
        if place and text and (literal := source.text[slice(*place)]) != scalar:
            changed = _replaced(value, path, literal)
            value = value if invalid(changed, schema) else changed
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
    if isinstance(schema, list):
        return set().union(*map(_choices, schema))
    if not isinstance(schema, dict):
        return set()
    found = {scalar for key in ("enum", "const") for _, scalar in _scalars(schema.get(key), ())}
    for key, inner in schema.items():
        if key in ("properties", "$defs", "definitions"):  # names, and their schemas
            found |= _choices([*inner.values()])
        elif key in ASSERTIONS - {"enum", "const", "required"}:
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
