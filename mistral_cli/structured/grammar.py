"""A schema → a grammar in llguidance's dialect of Lark, which both engines sample by."""

from __future__ import annotations

import json
from typing import Any

from mistral_cli.structured.schema import Schema, bad_schema, validator

# Without these a weak model wanders in whitespace. What `lenient` leaves out of the grammar
# is listed by `check_grammar` and caught by validation.
GUIDANCE = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,
}

ANNOTATIONS = {"$schema", "$id", "id", "$anchor", "$comment", "$defs", "definitions", "x-guidance"}
ANNOTATIONS |= {"title", "description", "default", "examples"}
ANNOTATIONS |= {"deprecated", "readOnly", "writeOnly"}
"""Keywords that say nothing about a value."""

_MANY_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_COMBINED = {"allOf", "if", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef"}
_COMBINED |= {"unevaluatedProperties", "unevaluatedItems"}
_COMBINED_WITH_OTHERS = ("anyOf", "oneOf", "$ref")


def json_grammar(schema: Schema, *, many: bool) -> str:
    """A grammar that admits only values of `schema`, or with `many` lists of them.

    Objects that name their properties get no others, though JSON Schema would allow them: a
    weak model goes on inventing keys.
    """
    start = list_of("item") if many else "item"
    item = json.dumps({**_closed(schema), "x-guidance": GUIDANCE})
    return f"%llguidance {{}}\nstart: {start}\nitem: %json {item}\n"


def list_of(item: str, least: int = 0, most: int | None = None) -> str:
    """The expression of a JSON array whose items match the rule `item`."""
    if most == 0:
        return '"[]"'
    others = f'(", " {item}){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
    filled = f'"[" {item} {others} "]"'
    return f'({filled} | "[]")' if least == 0 else filled


def check_grammar(grammar: str, schema: Schema) -> list[str]:
    """What of `schema` its `grammar` leaves to validation. Raises UsageError."""
    import llguidance

    failed, notes = llguidance.LLMatcher.validate_grammar_with_warnings(grammar)
    if failed:
        raise bad_schema(_reason(notes[0]))
    for note in notes:
        name = note.removeprefix("Unknown format: ")
        if name != note and name not in validator(schema).format_checker.checkers:
            raise bad_schema(f"nothing here can check the format {name!r}")
    return list(notes)


def _reason(report: str) -> str:
    """The one line that matters of llguidance's report, which quotes the whole grammar."""
    first, *others = report.splitlines()
    if wrong := [line for line in others if line.startswith("error: ")]:
        return f"{wrong[0].removeprefix('error: ')}: {others[0].strip()}"
    return first.partition("failed to compile JSON schema: ")[2] or first


def _closed(schema: Schema) -> Schema:
    """`schema` with no properties but the named ones, where that leaves it satisfiable."""
    return schema if _combines(schema) else _close(schema)


def _combines(schema: Any) -> bool:
    """Whether several schemas speak of one object: each would forbid what the others name."""
    if not isinstance(schema, dict):
        return False
    meaningful = schema.keys() - ANNOTATIONS
    if meaningful & _COMBINED:
        return True
    if len(meaningful) > 1 and not meaningful.isdisjoint(_COMBINED_WITH_OTHERS):
        return True
    return any(_combines(inner) for _, inner in _inner(schema))


def _close(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    for key, value in schema.items():
        if key in _MANY_SCHEMAS and isinstance(value, dict):
            result[key] = {name: _close(inner) for name, inner in value.items()}
        elif key in ("anyOf", "oneOf", "prefixItems") and isinstance(value, list):
            result[key] = [_close(inner) for inner in value]
        elif key in ("items", "additionalProperties"):
            result[key] = [*map(_close, value)] if isinstance(value, list) else _close(value)
    named = schema.get("properties", {})
    more = {"additionalProperties", "patternProperties", "minProperties"} & schema.keys()
    if named and not more and named.keys() >= set(schema.get("required", ())):
        result["additionalProperties"] = False
    return result


def _inner(schema: Schema) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in schema.items():
        if key in _MANY_SCHEMAS and isinstance(value, dict):
            found += value.items()
        elif key in ("anyOf", "oneOf", "prefixItems", "items", "additionalProperties"):
            found += [(key, each) for each in (value if isinstance(value, list) else [value])]
    return found
