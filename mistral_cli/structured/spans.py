"""Checks that a grounded value comes from the text, and finds its parts there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.schema import output_invalid, validation_problem

if TYPE_CHECKING:
    from mistral_cli.structured.grounding.merge import MergedSchema
    from mistral_cli.structured.grounding.text_index import TextIndex

ValuePath = tuple[str | int, ...]
"""The keys and indexes that lead to a part of a JSON value."""


@dataclass(frozen=True)
class ValueSpan:
    """Characters `start` to `end` (exclusive) of the text, which gave the value at `path`.

    `path` is a JSON Pointer (RFC 6901).
    """

    path: str
    start: int
    end: int


def quote_from_text(
    value: Any, merged: MergedSchema, index: TextIndex, at: ValuePath = ()
) -> tuple[Any, list[ValueSpan]]:
    """Replace the strings of `value` by the text's own wording; return it and the spans.

    `at` is the path of `value` in the whole answer. Only strings and numbers that the schema
    offers as choices may be absent from the text; they stay as the schema writes them. A string
    keeps its single spaces where the schema forbids the line break or the longer gap of the text.
    Raises OutputInvalid for any other value, which the grammar has ruled out.
    """
    choices = {scalar for _, scalar in _scalars(merged.choices, ())}
    spans = []
    for path, scalar in list(_scalars(value, ())):
        is_string = isinstance(scalar, str)
        as_is = index.locate(scalar) if is_string else index.locate_number(scalar)
        span = as_is or index.dates.get(scalar)
        if span:
            spans.append(ValueSpan(pointer((*at, *path)), *span))
        elif scalar != "" and scalar not in choices:
            raise output_invalid(f"the text does not contain {scalar!r}")
        quote = index.text[slice(*as_is)] if as_is else scalar
        if is_string and quote != scalar and scalar not in choices:
            changed = _replaced(value, path, quote)
            value = value if validation_problem(changed, merged.source) else changed
    if problem := validation_problem(value, merged.source):
        raise output_invalid(problem)
    return value, spans


def _scalars(value: Any, path: ValuePath) -> Iterator[tuple[ValuePath, Any]]:
    """Yield the strings and numbers in a JSON value, with their paths."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _scalars(inner, (*path, key))
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _replaced(value: Any, path: ValuePath, new: str) -> Any:
    """Copy `value`, with `new` at `path`."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


def pointer(path: ValuePath) -> str:
    """Write `path` as a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)
