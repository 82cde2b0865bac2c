"""JSON answers: a field list or a schema → a grammar; text → a validated value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .errors import OutputInvalid, UsageError

Schema = dict[str, Any]

ANY_OBJECT: Schema = {"type": "object"}

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"^(?P<name>\S+)(?:\s+(?P<type>\w+))?\s*$")

# Without these a weak model wanders in whitespace. What `lenient` leaves out of the grammar
# is listed by `check` and caught by `parse`.
_GUIDANCE = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,
}


def schema_from_fields(fields: str) -> Schema:
    """The schema of a concise field list: `name, age int, bio: short bio`.

    Fields stand between commas, or on lines of their own when there is a newline; each is a
    name, optionally a type (str, int, float, bool) and after a colon a description. The
    form is that of `llm`'s schema DSL. Raises UsageError.
    """
    separator = "\n" if "\n" in fields.strip() else ","
    properties: dict[str, dict[str, str]] = {}
    for part in filter(None, map(str.strip, fields.split(separator))):
        head, _, description = part.partition(":")
        match = _FIELD.match(head.strip())
        kind = match and (match["type"] or "str")
        if not match or kind not in _TYPES:
            raise _bad_fields(f"cannot read the field {part!r}")
        if match["name"] in properties:
            raise _bad_fields(f"the field {match['name']!r} is there twice")
        properties[match["name"]] = {"type": _TYPES[kind]}
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
    """The fields of an object schema, one a line, for the prompt."""
    lines = []
    for name, field in schema.get("properties", {}).items():
        kind = field.get("type", "") if isinstance(field, dict) else ""
        description = field.get("description", "") if isinstance(field, dict) else ""
        lines.append(
            f"- {name}" + (f" ({kind})" if kind else "") + f": {description}" * bool(description)
        )
    return "\n".join(lines)


def load_schema(reference: str) -> Schema:
    """The JSON schema in `reference`: JSON text, or the path of a file. Raises UsageError."""
    text = reference
    if not reference.lstrip().startswith("{"):
        try:
            text = Path(reference).expanduser().read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read the schema {reference}: {error}",
                hint="Give a file, or the JSON itself beginning with '{'.",
            ) from error
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the schema is no JSON: {error}", hint="Correct it.") from error
    if not isinstance(schema, dict):
        raise UsageError("the schema is no JSON object", hint='Write {"type": …}.')
    return schema


def check(schema: Schema) -> list[str]:
    """Refuse a schema that cannot be held; return what only validation will enforce.

    Decided from the schema alone, before any model is loaded: an engine given a grammar
    that it cannot compile answers with free text. Raises UsageError.
    """
    import jsonschema
    import llguidance

    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise _bad_schema(error.message) from error
    failed, notes = llguidance.LLMatcher.validate_grammar_with_warnings(grammar(schema))
    if failed:
        raise _bad_schema(notes[0].splitlines()[0].partition(": ")[2] or notes[0])
    return list(notes)


def grammar(schema: Schema) -> str:
    """A Lark grammar in llguidance's dialect that admits exactly the values of `schema`."""
    return "%llguidance {}\nstart: %json " + json.dumps({**schema, "x-guidance": _GUIDANCE})


def parse(text: str, schema: Schema) -> Any:
    """The JSON value in `text`, valid for `schema`. Raises OutputInvalid."""
    import jsonschema

    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise _invalid(f"the answer is no JSON: {error}") from error
    validator = jsonschema.validators.validator_for(schema)
    try:
        validator(schema, format_checker=validator.FORMAT_CHECKER).validate(value)
    except jsonschema.ValidationError as error:
        raise _invalid(f"the answer does not match the schema: {error.message}") from error
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _bad_fields(what: str) -> UsageError:
    return UsageError(what, hint='Write --fields "name, age int, bio: short bio".')


def _bad_schema(what: str) -> UsageError:
    return UsageError(
        f"the schema cannot be used: {what}", hint="Take that part out, or express it otherwise."
    )


def _invalid(what: str) -> OutputInvalid:
    return OutputInvalid(what, hint="Try another --seed, a larger model, or a simpler schema.")
