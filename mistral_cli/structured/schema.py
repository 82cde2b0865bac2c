"""JSON schemas: load one, reject one that cannot be enforced, validate a value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import OutputInvalid, UsageError, reason
from mistral_cli.system.encodings import AUTO, read_supplement
from mistral_cli.system.strict_json import loads, refuse_non_json

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

Schema = dict[str, Any]

ANY_OBJECT: Schema = {"type": "object"}

_MAX_MESSAGE = 300  # characters of a library's message

_MAX_EXPANDED = 100_000
"""Subschemas with every `$ref` written out: a validator takes a second for so many."""


def load_schema(reference: str, reporter: Reporter | None = None, encoding: str = AUTO) -> Schema:
    """Load a JSON schema from `reference`: JSON text, or a path. Raises UsageError."""
    text = reference
    if not reference.lstrip().startswith("{"):
        try:
            text = read_supplement(Path(reference).expanduser(), reporter, encoding)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"cannot read the schema {reference}: {reason(error)}",
                hint="Give a file, or the JSON itself, starting with '{'.",
            ) from error
    try:
        schema = loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the schema is not JSON: {error}", hint="Correct it.") from error
    if not isinstance(schema, dict):
        raise UsageError("the schema is not a JSON object", hint='Write {"type": …}.')
    return schema


def check_schema(schema: Schema) -> None:
    """Reject a schema that is invalid or refers to anything outside itself. Raises UsageError."""
    import jsonschema
    from referencing.exceptions import Unresolvable

    try:
        refuse_non_json(schema)
        if not isinstance(schema.get("$schema", ""), str):
            raise bad_schema("its $schema is not a string")
        draft = _draft(schema)
        if draft is jsonschema.Draft3Validator:
            raise bad_schema("it uses draft 3; drafts 4 and later are supported")
        draft.check_schema(schema)
        _check_references(schema)
        if _expanded(*as_resource(schema), _dialect(schema), {}) > _MAX_EXPANDED:
            raise bad_schema(f"its references stand for more than {_MAX_EXPANDED} subschemas")
        # Following a schema that only refers to itself would never end: this finds it.
        validator(schema).is_valid(None)
    except jsonschema.SchemaError as error:
        raise bad_schema(f"{error.message} (at {error.json_path})") from error
    except Unresolvable as error:
        raise bad_schema(f"it refers to {error.ref!r}, which is not in it") from error
    except RecursionError as error:
        raise bad_schema("it is nested too deeply, or refers to itself without end") from error
    except (ArithmeticError, TypeError, ValueError) as error:
        raise bad_schema(str(error)) from error


def _check_references(schema: Schema) -> None:
    """Look up every `$ref`, including those that neither engine nor validator may ever reach."""
    queue = [as_resource(schema)]
    for resource, resolver in queue:
        for reference in _references(resource.contents):
            resolver.lookup(reference)
        queue += [(each, resolver.in_subresource(each)) for each in resource.subresources()]


def _references(schema: Any) -> list[str]:
    keys = ("$ref", "$dynamicRef", "$recursiveRef") if isinstance(schema, dict) else ()
    return [schema[key] for key in keys if isinstance(schema.get(key), str)]


def _expanded(resource: Any, resolver: Any, dialect: Any, known: dict[int, int]) -> int:
    """Count the subschemas that `resource` stands for; one that refers to itself counts once.

    `known` has the counts of those that were met before, by their identity.
    """
    contents = resource.contents
    if not isinstance(contents, dict):
        return 1
    if id(contents) not in known:
        known[id(contents)] = 1
        inner = [(each, resolver.in_subresource(each)) for each in resource.subresources()]
        for reference in _references(contents):
            found = resolver.lookup(reference)
            inner.append((dialect.create_resource(found.contents), found.resolver))
        known[id(contents)] += sum(_expanded(*each, dialect, known) for each in inner)
    return known[id(contents)]


def as_resource(schema: Schema) -> tuple[Any, Any]:
    """Return `schema` as a resource of its dialect, and a resolver for its `$ref`s."""
    from referencing.jsonschema import EMPTY_REGISTRY

    root = _dialect(schema).create_resource(schema)
    return root, EMPTY_REGISTRY.resolver_with_root(root)


def _dialect(schema: Schema) -> Any:
    from referencing.jsonschema import DRAFT202012, specification_with

    return specification_with(schema.get("$schema", ""), default=DRAFT202012)


def validator(schema: Schema) -> Any:
    """Return a validator for the draft that `schema` names, or for the latest draft."""
    from referencing.jsonschema import EMPTY_REGISTRY

    draft = _draft(schema)
    # Without an empty registry, jsonschema would fetch a `$ref` from the network.
    return draft(schema, registry=EMPTY_REGISTRY, format_checker=draft.FORMAT_CHECKER)


def _draft(schema: Schema) -> Any:
    import jsonschema

    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)


def validation_problem(value: Any, schema: Schema) -> str | None:
    """Say in one line why `value` does not match `schema`; None if it does.

    Raises OutputInvalid if it cannot be validated.
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        problem = best_match(validator(schema).iter_errors(value))
    except (ArithmeticError, RecursionError, Unresolvable) as error:
        raise output_invalid(f"the answer cannot be validated: {error}") from error
    if not problem:
        return None
    return one_line(
        f"the answer does not match the schema at {problem.json_path}: {problem.message}"
    )


def bad_schema(message: str) -> UsageError:
    """Return the error for a schema that cannot be used."""
    return UsageError(
        f"the schema cannot be used: {one_line(message)}",
        hint="Remove that part, or express it in another way.",
    )


def output_invalid(message: str) -> OutputInvalid:
    """Return the error for an answer that is not valid."""
    hint = "Try another --seed, a larger model, or a simpler schema."
    return OutputInvalid(one_line(message), hint=hint)


def one_line(text: str) -> str:
    """Shorten `text` to one readable line.

    The middle goes: libraries quote a whole value first and name the problem at the end.
    """
    line, half = " ".join(text.split()), _MAX_MESSAGE // 2
    return line if len(line) <= _MAX_MESSAGE else f"{line[:half]} … {line[-half:]}"
