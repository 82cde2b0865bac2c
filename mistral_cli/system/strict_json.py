"""JSON as RFC 8259 defines it; Python's own reader accepts more."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str) -> Any:
    """Parse one JSON value. Raises ValueError and RecursionError."""
    value = json.loads(text, object_pairs_hook=_object)
    refuse_non_json(value)
    return value


def refuse_non_json(value: Any) -> None:
    """Raise ValueError for NaN, infinity (such as 1e999) or half a surrogate pair."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} occurs twice")
    return value
