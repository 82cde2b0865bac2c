"""A schema for another attempt after an answer that was cut: with fewer optional properties."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.completion import required_names
from mistral_cli.structured.denials import with_parts
from mistral_cli.structured.enforceable import NOTHING

if TYPE_CHECKING:
    from mistral_cli.structured.schema import Schema

_KEY = re.compile(r'"((?:[^"\\]|\\.)*)": ')


def brief_schema(schema: Schema, answer: str) -> Schema:
    """Return `schema` without the optional properties that make an answer long.

    The whole value keeps those that the cut `answer` has, but for the last one. The objects in it
    keep what is required or, where nothing is, the same. A value of the result is one of `schema`.
    """
    required = required_names(schema)
    written = required.union(_KEY.findall(answer)[:-1])

    def shortened(part: Any, *, is_root: bool = False) -> Any:
        if not isinstance(part, dict):
            return part
        result = with_parts(part, shortened)
        if isinstance(properties := result.get("properties"), dict):
            kept = required if part.get("required") and not is_root else written
            named = {name: each if name in kept else NOTHING for name, each in properties.items()}
            result["properties"] = named
        return result

    shorter: Schema = shortened(schema, is_root=True)
    return shorter
