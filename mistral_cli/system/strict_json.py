"""JSON as RFC 8259 defines it; Python's own reader accepts more."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str) -> Any:
    """Parse one JSON value. Raises ValueError, with a message for people."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):
            raise ValueError("a number has more than 4,300 digits") from error
        raise
    refuse_non_json(value)
    return value


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
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} occurs twice")
    return value
