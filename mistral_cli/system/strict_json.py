"""JSON as RFC 8259 defines it; Python's own reader accepts more."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import msgspec
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")

_PLAIN_TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
    "str | None": (str, type(None)),
}
"""The annotation of a field → the types that its value may have; others are not checked."""


def loads(text: str) -> Any:
    """Parse one JSON value. Raises ValueError, with a message for people."""
    return _loads(text, _object)


def flat_object(text: str) -> dict[str, Any] | None:
    """Parse an object of strings, numbers, truth values and nulls; None for any other text.

    What it returns, `loads` returns too, in ten times the time: for a line of a million.
    """
    quoted = 0
    if "\\" in text:
        if "\\\\" in text or "\\ud" in text or "\\uD" in text:  # unsure quotes, surrogates
            return None
        quoted = text.count('\\"')
    try:
        value = _flat_decoder().decode(text)
    except ValueError:
        return None
    strings = len(value)
    for each in value.values():
        if type(each) is str:
            strings += 1
    # With a key that occurs twice, the text has more quotes than its keys and values need.
    return value if text.count('"') - quoted == 2 * strings else None


@cache
def _flat_decoder() -> msgspec.json.Decoder[dict[str, Any]]:
    import msgspec

    return msgspec.json.Decoder(dict[str, str | int | float | bool | None])


def loads_exactly(text: str) -> Any:
    """Parse one JSON value as `loads` does, but refuse a number that a float would round."""
    return _loads(text, _object, _exact)


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\],:]')  # a string may be cut


def repeated_keys(text: str) -> tuple[str, ...]:
    """Return the keys of each object in `text`, which may be cut, in which a key occurs twice."""
    found: dict[str, None] = {}  # as a set that keeps the order
    keys: list[list[str]] = []  # of the containers that are open; those of a list are none
    last = ""
    for token in _TOKEN.findall(text):
        if token in "{[":
            keys.append([])
        elif token in "}]" and keys:
            keys.pop()
        elif token == ":" and keys and last.startswith('"'):
            keys[-1].append(last)
            if keys[-1].count(last) > 1:
                found |= dict.fromkeys(keys[-1])
        last = token
    with contextlib.suppress(ValueError):
        return tuple(json.loads(key) for key in found)
    return ()


def loads_last(text: str) -> tuple[Any, list[str]]:
    """Parse one JSON value; of a key that occurs twice in an object, the last one counts.

    Return the value, and such keys. Raises ValueError, with a message for people.
    """
    repeated: list[str] = []

    def last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            repeated.append(_most_common(pairs))
        return value

    return _loads(text, last), repeated


def _loads(
    text: str,
    hook: Callable[[list[tuple[str, Any]]], dict[str, Any]],
    read_float: Callable[[str], float] = float,
) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=hook, parse_float=read_float)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):
            raise ValueError("a number has more than 4,300 digits") from error
        raise
    refuse_non_json(value)
    return value


def read_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object that this program has written. Raises ValueError for anything else."""
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value


def to_dataclass(kind: type[Value], values: dict[str, Any]) -> Value:
    """Return an object with the values of its fields, which a file of ours contained.

    Raises ValueError for a wrong or missing field, and for a number, text or truth value of
    another type.
    """
    annotations = {each.name: str(each.type) for each in fields(kind)}
    for name, value in values.items():
        if not isinstance(value, _PLAIN_TYPES.get(annotations.get(name, ""), object)):
            raise ValueError(f"{name} cannot be {value!r:.40}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(str(error)) from error


def refuse_non_json(value: Any) -> None:
    """Raise ValueError for NaN, infinity (such as 1e999) or half a surrogate pair."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise ValueError(f"{half} is half of a surrogate pair, not a character") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError("a number is NaN or infinite, as 1e999 is") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"the key {_most_common(pairs)!r} occurs twice")
    return value


def is_exact(literal: str) -> bool:
    """Whether the number `literal` keeps all its digits when it is parsed."""
    if literal.removeprefix("-").isdecimal():  # an integer of any size
        return True
    value = float(literal)
    try:
        return math.isfinite(value) and Decimal(literal) == Decimal(repr(value))
    except ArithmeticError:  # its exponent has very many digits
        return False


def _exact(literal: str) -> float:
    """Read a number with a point or an exponent. Raises ValueError if it has too many digits."""
    value = float(literal)
    if math.isfinite(value) and not is_exact(literal):
        raise ValueError(f"the number {literal:.40} has more digits than can be kept")
    return value


def _most_common(pairs: list[tuple[str, Any]]) -> str:
    [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
    return name
