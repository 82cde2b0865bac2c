"""JSON as its standard (RFC 8259) has it: Python's reader takes more."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str) -> Any:
    """Read one JSON value. Raises ValueError and RecursionError."""
    value = json.loads(text, object_pairs_hook=_object)
    refuse_non_json(value)
    return value


def refuse_non_json(value: Any) -> None:
    """Refuse what Python takes for JSON: NaN, infinity (such as 1e999), half a character."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} is there twice")
    return value
