"""Types and limits of several schemas → those of a value that satisfies all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from math import gcd, lcm
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.enforceable import sizes_of

if TYPE_CHECKING:
    from mistral_cli.structured.schema import Schema

_SMALLEST = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")
_SIZES = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_LARGEST = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")


def intersect_types(schemas: Iterable[Schema]) -> list[str] | None:
    """Return the types that all `schemas` allow; None if none of them names any."""
    common: list[str] | None = None
    for schema in schemas:
        if "type" in schema:
            named = schema["type"]
            types = named if isinstance(named, list) else [named]
            common = types if common is None else list(_common_types(common, types))
    return None if common is None else list(dict.fromkeys(common))


def _common_types(first: list[str], second: list[str]) -> Iterator[str]:
    for kind in first:
        if kind in second or (kind == "integer" and "number" in second):
            yield kind
        elif kind == "number" and "integer" in second:
            yield "integer"


def intersect_limits(schemas: Iterable[Schema]) -> Schema:
    """Return the limits of strings, numbers and sizes that imply those of all `schemas`.

    The value of `pattern` and of `format` is a tuple: all of its members must match.
    """
    limits: Schema = {}
    for schema in schemas:
        for key, value in _limits(schema):
            limits[key] = _COMBINED[key](limits[key], value) if key in limits else value
    return limits


def _limits(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the limits of `schema`, in the keywords of the latest draft."""
    for key in schema.keys() & _COMBINED.keys():
        value, exclusive = schema[key], f"exclusive{key[0].upper()}{key[1:]}"
        if key in ("pattern", "format"):
            yield key, (value,)
        elif schema.get(exclusive) is True:  # draft 4
            yield exclusive, value
        elif key in _SIZES:
            yield from sizes_of(schema, [key]).items()
        elif not isinstance(value, bool):
            yield key, value


def _common_multiple(first: float, second: float) -> float:
    one, two = (Fraction(Decimal(str(value))) for value in (first, second))
    common = Fraction(lcm(one.numerator, two.numerator), gcd(one.denominator, two.denominator))
    return common.numerator if common.denominator == 1 else float(common)


_COMBINED: dict[str, Any] = {
    **dict.fromkeys(_SMALLEST, min),
    **dict.fromkeys(_LARGEST, max),
    "pattern": lambda first, second: tuple(dict.fromkeys(first + second)),
    "format": lambda first, second: tuple(dict.fromkeys(first + second)),
    "multipleOf": _common_multiple,
}
