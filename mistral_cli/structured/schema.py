"""JSON schemas: read one, refuse what cannot be held, tell what is wrong with a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mistral_cli.errors import OutputInvalid, UsageError
from mistral_cli.system.strict_json import loads, refuse_non_json

Schema = dict[str, Any]

ANY_OBJECT: Schema = {"type": "object"}

_MOST_QUOTED = 300  # characters of somebody else's message


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
        schema = loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the schema is no JSON: {error}", hint="Correct it.") from error
    if not isinstance(schema, dict):
        raise UsageError("the schema is no JSON object", hint='Write {"type": …}.')
    return schema


def check_schema(schema: Schema) -> None:
    """Refuse what is no schema, or refers to what is not in it. Raises UsageError."""
    import jsonschema
    from referencing.exceptions import Unresolvable

    try:
        refuse_non_json(schema)
        if not isinstance(schema.get("$schema", ""), str):
            raise bad_schema("its $schema is no text")
        held = validator(schema)
        if isinstance(held, jsonschema.Draft3Validator):
            raise bad_schema("it is of draft 3, and drafts from 4 on are understood")
        held.check_schema(schema)
        _check_references(schema)
        # A schema that refers to itself and nothing else would be followed without end.
        held.is_valid(None)
    except jsonschema.SchemaError as error:
        raise bad_schema(f"{error.message} (at {error.json_path})") from error
    except Unresolvable as error:
        raise bad_schema(f"it refers to {error.ref!r}, which is not in it") from error
    except RecursionError as error:
        raise bad_schema("it is nested too deeply, or refers to itself without end") from error
    except (ArithmeticError, TypeError, ValueError) as error:
        raise bad_schema(str(error)) from error


def _check_references(schema: Schema) -> None:
    """Look up every `$ref`, those too that neither engine nor validator may come to."""
    found = [as_resource(schema)]
    for resource, resolver in found:
        if isinstance(resource.contents, dict):
            for key in ("$ref", "$dynamicRef", "$recursiveRef"):
                if isinstance(reference := resource.contents.get(key), str):
                    resolver.lookup(reference)
        found += [(each, resolver.in_subresource(each)) for each in resource.subresources()]


def as_resource(schema: Schema) -> tuple[Any, Any]:
    """`schema` in its dialect, and what resolves a `$ref` in it."""
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY, specification_with

    dialect = specification_with(schema.get("$schema", ""), default=DRAFT202012)
    root = dialect.create_resource(schema)
    return root, EMPTY_REGISTRY.resolver_with_root(root)


def validator(schema: Schema) -> Any:
    """A validator for the draft that `schema` names, else for the latest one."""
    import jsonschema
    from referencing.jsonschema import EMPTY_REGISTRY

    draft = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    # Without a registry of ours it would fetch a `$ref` from the network.
    return draft(schema, registry=EMPTY_REGISTRY, format_checker=draft.FORMAT_CHECKER)


def invalid(value: Any, schema: Schema) -> str | None:
    """What is wrong with `value`, in one line; None if it is valid. Raises OutputInvalid."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        wrong = best_match(validator(schema).iter_errors(value))
    except (ArithmeticError, RecursionError, Unresolvable) as error:
        raise output_invalid(f"the answer cannot be held against the schema: {error}") from error
    if not wrong:
        return None
    return one_line(f"the answer does not match the schema at {wrong.json_path}: {wrong.message}")


def bad_schema(what: str) -> UsageError:
    """The error for a schema that is not usable."""
    return UsageError(
        f"the schema cannot be used: {one_line(what)}",
        hint="Take that part out, or express it otherwise.",
    )


def output_invalid(what: str) -> OutputInvalid:
    """The error for an answer that does not hold."""
    hint = "Try another --seed, a larger model, or a simpler schema."
    return OutputInvalid(one_line(what), hint=hint)


def one_line(text: str) -> str:
    """One line of readable length: libraries quote whole values, and then say what is wrong."""
    line, half = " ".join(text.split()), _MOST_QUOTED // 2
    return line if len(line) <= _MOST_QUOTED else f"{line[:half]} … {line[-half:]}"
