"""Field lists: a concise form of a schema, and a schema put in words for the prompt."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.structured.schema import Schema

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"(?P<name>[^\s,]+)(?:\s+(?P<type>\w+))?")
_INDENT = "  "
_DEEPEST = 4  # levels of a schema that the prompt tells


def schema_from_fields(fields: str, *, nullable: bool = False) -> Schema:
    """The schema of a concise field list: `name, age int, bio: short bio`.

    Fields stand between commas, or on lines of their own when there is a newline; each is a
    name, optionally a type (str, int, float, bool) and after a colon a description. The
    form is that of `llm`'s schema DSL. With `nullable` all but bool may be null. Raises
    UsageError.
    """
    separator = "\n" if "\n" in fields.strip() else ","
    properties: dict[str, dict[str, Any]] = {}
    for part in filter(None, (part.strip().rstrip(",") for part in fields.split(separator))):
        head, _, description = part.partition(":")
        match = _FIELD.fullmatch(head.strip())
        kind = match and (match["type"] or "str")
        if not match or kind not in _TYPES:
            raise _bad_fields(f"cannot read the field {part!r}")
        if match["name"] in properties:
            raise _bad_fields(f"the field {match['name']!r} is there twice")
        or_null = nullable and kind != "bool"
        properties[match["name"]] = {"type": [_TYPES[kind], "null"] if or_null else _TYPES[kind]}
        if description.strip():
            properties[match["name"]]["description"] = description.strip()
    if not properties:
        raise _bad_fields("the field list is empty")
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def describe_fields(schema: Schema) -> str:
    """The fields of an object schema, one a line, for the prompt; `schema` may be unchecked."""
    return "\n".join(_lines(schema, 0))


def _lines(schema: object, depth: int) -> list[str]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or depth == _DEEPEST:
        return []
    lines = []
    for name, field in properties.items():
        lines.append(f"{_INDENT * depth}- {name}{_describe(field)}")
        inner = field.get("items", field) if isinstance(field, dict) else field
        lines += _lines(inner, depth + 1)
    return lines


def _describe(field: object) -> str:
    if not isinstance(field, dict):
        return ""
    kinds, choices, description = map(field.get, ("type", "enum", "description"))
    kind = " or ".join(map(str, kinds)) if isinstance(kinds, list) else kinds
    if isinstance(choices, list):
        said = (each if isinstance(each, str) else json.dumps(each) for each in choices)
        kind = "one of " + ", ".join(said)
    return (f" ({kind})" if kind else "") + (f": {description}" if description else "")


def _bad_fields(what: str) -> UsageError:
    return UsageError(
        what,
        hint='Write --fields "full_name, age int, bio: short bio"; types: str, int, float, bool.',
    )
