"""Field lists: a concise way to write a schema, and a schema described in words for the prompt."""

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
_MAX_DEPTH = 4  # levels of a schema that the prompt describes


def schema_from_fields(fields: str, *, nullable: bool = False) -> Schema:
    """Return the schema of a concise field list: `name, age int, bio: short bio`.

    Commas separate the fields, or newlines if the list has any. Each field is a name, optionally
    a type (str, int, float, bool) and, after a colon, a description. The syntax is that of
    `llm`'s schema DSL. With `nullable`, every field but a bool may be null. Raises UsageError.
    """
    separator = "\n" if "\n" in fields.strip() else ","
    properties: dict[str, dict[str, Any]] = {}
    for part in filter(None, (part.strip().rstrip(",") for part in fields.split(separator))):
        head, _, description = part.partition(":")
        match = _FIELD.fullmatch(head.strip())
        field_type = match and (match["type"] or "str")
        if not match or field_type not in _TYPES:
            raise _bad_fields(f"cannot read the field {part!r}")
        if match["name"] in properties:
            raise _bad_fields(f"the field {match['name']!r} is listed twice")
        json_type = _TYPES[field_type]
        or_null = nullable and field_type != "bool"
        properties[match["name"]] = {"type": [json_type, "null"] if or_null else json_type}
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
    """List the fields of an object schema, one per line, for the prompt.

    `schema` need not have been checked.
    """
    return "\n".join(_lines(schema, 0))


def _lines(schema: object, depth: int) -> list[str]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or depth == _MAX_DEPTH:
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
    types, choices, description = map(field.get, ("type", "enum", "description"))
    values = " or ".join(map(str, types)) if isinstance(types, list) else types
    if isinstance(choices, list):
        written = (each if isinstance(each, str) else json.dumps(each) for each in choices)
        values = "one of " + ", ".join(written)
    return (f" ({values})" if values else "") + (f": {description}" if description else "")


def _bad_fields(message: str) -> UsageError:
    return UsageError(
        message,
        hint='Write --fields "full_name, age int, bio: short bio"; types: str, int, float, bool.',
    )
