"""JSON answers: a field list or a schema → a grammar; text → a validated value."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mistral_cli.errors import OutputInvalid, UsageError

Schema = dict[str, Any]

ANY_OBJECT: Schema = {"type": "object"}

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"(?P<name>[^\s,]+)(?:\s+(?P<type>\w+))?")

_MOST_QUOTED = 300  # characters of somebody else's message

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
    for part in filter(None, (part.strip().rstrip(",") for part in fields.split(separator))):
        head, _, description = part.partition(":")
        match = _FIELD.fullmatch(head.strip())
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
    """The fields of an object schema, one a line, for the prompt; `schema` may be unchecked."""
    properties = schema.get("properties")
    fields = properties.items() if isinstance(properties, dict) else ()
    return "\n".join(f"- {name}{_describe(field)}" for name, field in fields)


def _describe(field: object) -> str:
    if not isinstance(field, dict):
        return ""
    kinds, description = field.get("type"), field.get("description")
    kind = " or ".join(map(str, kinds)) if isinstance(kinds, list) else kinds
    return (f" ({kind})" if kind else "") + (f": {description}" if description else "")


def load_schema(reference: str) -> Schema:
    """The JSON schema in `reference`: JSON text, or the path of a file. Raises UsageError."""
    text = reference
    if not reference.lstrip().startswith("{"):
        try:
            text = Path(reference).expanduser().read_text(encoding="utf-8-sig")
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"cannot read the schema {reference}: {error}",
                hint="Give a file, or the JSON itself beginning with '{'.",
            ) from error
    try:
        schema = _loads(text)
    except (ValueError, RecursionError) as error:
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
    from referencing.exceptions import Unresolvable

    try:
        _refuse_non_json(schema)
        if not isinstance(schema.get("$schema", ""), str):
            raise _bad_schema("its $schema is no text")
        validator = _validator(schema)
        validator.check_schema(schema)
        _check_references(schema)
        # A schema that refers to itself and nothing else would be followed without end.
        validator.is_valid(None)
    except jsonschema.SchemaError as error:
        raise _bad_schema(f"{error.message} (at {error.json_path})") from error
    except Unresolvable as error:
        raise _bad_schema(f"it refers to {error.ref!r}, which is not in it") from error
    except RecursionError as error:
        raise _bad_schema("it is nested too deeply, or refers to itself without end") from error
    except (ArithmeticError, TypeError, ValueError) as error:
        raise _bad_schema(str(error)) from error
    failed, notes = llguidance.LLMatcher.validate_grammar_with_warnings(grammar(schema))
    if failed:
        raise _bad_schema(_reason(notes[0]))
    for note in notes:
        name = note.removeprefix("Unknown format: ")
        if name != note and name not in validator.format_checker.checkers:
            raise _bad_schema(f"nothing here can check the format {name!r}")
    return list(notes)


def _check_references(schema: Schema) -> None:
    """Look up every `$ref`, those too that neither engine nor validator may come to."""
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY, specification_with

    dialect = specification_with(schema.get("$schema", ""), default=DRAFT202012)
    root = dialect.create_resource(schema)
    found = [(root, EMPTY_REGISTRY.resolver_with_root(root))]
    for resource, resolver in found:
        if isinstance(resource.contents, dict):
            for key in ("$ref", "$dynamicRef", "$recursiveRef"):
                if isinstance(reference := resource.contents.get(key), str):
                    resolver.lookup(reference)
        found += [(each, resolver.in_subresource(each)) for each in resource.subresources()]


def _validator(schema: Schema) -> Any:
    """A validator for the draft that `schema` names, else for the latest one."""
    import jsonschema
    from referencing.jsonschema import EMPTY_REGISTRY

    draft = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    # Without a registry of ours it would fetch a `$ref` from the network.
    return draft(schema, registry=EMPTY_REGISTRY, format_checker=draft.FORMAT_CHECKER)


def _reason(report: str) -> str:
    """The one line that matters of llguidance's report, which quotes the whole grammar."""
    first, *others = report.splitlines()
    if wrong := [line for line in others if line.startswith("error: ")]:
        return f"{wrong[0].removeprefix('error: ')}: {others[0].strip()}"
    return first.partition("failed to compile JSON schema: ")[2] or first


def grammar(schema: Schema) -> str:
    """A Lark grammar in llguidance's dialect that admits exactly the values of `schema`."""
    return "%llguidance {}\nstart: %json " + json.dumps({**schema, "x-guidance": _GUIDANCE})


def parse(text: str, schema: Schema) -> Any:
    """The JSON value in `text`, valid for `schema`. Raises OutputInvalid."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        value = _loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the answer is no JSON: {error}") from error
    try:
        wrong = best_match(_validator(schema).iter_errors(value))
    except (ArithmeticError, RecursionError, Unresolvable) as error:
        raise _invalid(f"the answer cannot be held against the schema: {error}") from error
    if wrong:
        raise _invalid(
            f"the answer does not match the schema at {wrong.json_path}: {wrong.message}"
        )
    return value


def _loads(text: str) -> Any:
    """Read JSON as its standard has it. Raises ValueError and RecursionError."""
    value = json.loads(text, object_pairs_hook=_object)
    _refuse_non_json(value)
    return value


def _refuse_non_json(value: Any) -> None:
    """Refuse what Python takes for JSON: NaN, infinity (such as 1e999), half a character."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} is there twice")
    return value


def _bad_fields(what: str) -> UsageError:
    return UsageError(
        what,
        hint='Write --fields "full_name, age int, bio: short bio"; types: str, int, float, bool.',
    )


def _bad_schema(what: str) -> UsageError:
    return UsageError(
        f"the schema cannot be used: {_line(what)}",
        hint="Take that part out, or express it otherwise.",
    )


def _invalid(what: str) -> OutputInvalid:
    hint = "Try another --seed, a larger model, or a simpler schema."
    return OutputInvalid(_line(what), hint=hint)


def _line(text: str) -> str:
    """One line of readable length: libraries quote whole values, and then say what is wrong."""
    line, half = " ".join(text.split()), _MOST_QUOTED // 2
    return line if len(line) <= _MOST_QUOTED else f"{line[:half]} … {line[-half:]}"
