"""JSON schemas: load one, reject one that cannot be enforced, validate a value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import OutputInvalid, UsageError, reason
from mistral_cli.structured.patterns import read_pattern
from mistral_cli.system.encodings import AUTO, read_supplement
from mistral_cli.system.strict_json import loads_last, refuse_non_json

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

Schema = dict[str, Any]

ANY_OBJECT: Schema = {"type": "object"}

_MAX_MESSAGE = 300  # characters of a library's message

_MAX_APPLIED = 100_000
"""Subschemas that apply to one value, with every `$ref` followed: a validator takes a second."""

_APPLIED = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose subschemas apply to the same value."""

_IDS = ("$id", "id")

_LATEST = "http://json-schema.org/schema"
"""The name of the latest draft, whichever that is."""

_DATA = {"const", "enum", "default", "examples"}
"""Keywords whose values are not subschemas."""


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
        schema, repeated = loads_last(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the schema is not JSON: {error}", hint="Correct it.") from error
    if repeated and reporter:
        reporter.warn(f"the key {repeated[0]!r} occurs twice in the schema; the last one counts")
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
        _check_against_metaschema(schema)
        _check_subschemas(schema)
        # Following a schema that only refers to itself would never end: this finds it.
        validator(schema).is_valid(None)
    except jsonschema.SchemaError as error:
        raise bad_schema(f"{error.message} (at {error.json_path})") from error
    except Unresolvable as error:
        raise bad_schema(f"it refers to {_reference(error)!r}, which is not in it") from error
    except RecursionError as error:
        raise bad_schema("it is nested too deeply, or refers to itself without end") from error
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise bad_schema(str(error)) from error


def _reference(error: Any) -> str:
    """The reference that could not be resolved, as a schema writes it."""
    from referencing.exceptions import NoSuchAnchor, PointerToNowhere

    if isinstance(error, NoSuchAnchor):
        return f"{error.ref}#{error.anchor}"
    return f"#{error.ref}" if isinstance(error, PointerToNowhere) else str(error.ref)


def _check_against_metaschema(schema: Schema) -> None:
    import jsonschema
    from referencing.jsonschema import UnknownDialect, specification_with

    draft = _draft(schema)
    uri = schema.get("$schema", _LATEST)
    if uri.rstrip("#") != _LATEST:
        try:
            specification_with(uri)
        except UnknownDialect as error:
            raise bad_schema(f"its dialect is not known: {uri!r}") from error
    if draft is jsonschema.Draft3Validator:
        raise bad_schema("it uses draft 3; drafts 4 and later are supported")
    formats = jsonschema.FormatChecker()
    # Not Python's, but those of ECMA-262: `_check_subschemas` reads them.
    formats.checkers = {k: v for k, v in draft.FORMAT_CHECKER.checkers.items() if k != "regex"}
    draft.check_schema(_without_repetitions(schema), format_checker=formats)


def _without_repetitions(schema: Any, key: str = "") -> Any:
    """Return `schema` with each choice once: a choice that is listed twice does no harm."""
    if isinstance(schema, dict):
        return {name: _without_repetitions(inner, name) for name, inner in schema.items()}
    if not isinstance(schema, list):
        return schema
    if key in ("enum", "required", "type"):  # as JSON: Python takes true for 1
        return [*{json.dumps(each, sort_keys=True): each for each in schema}.values()]
    return [_without_repetitions(each) for each in schema]


def _check_subschemas(schema: Schema) -> None:
    """Check all references and patterns, including those that a value may never reach."""
    queue, applied = [as_resource(schema)], dict[int, int]()
    dialect = dialect_of(schema)
    for resource, resolver in queue:
        contents = resource.contents
        for reference in _references(contents):
            resolver.lookup(reference)
        if isinstance(contents, dict):
            for pattern in (contents.get("pattern"), *contents.get("patternProperties", ())):
                if isinstance(pattern, str):
                    read_pattern(pattern)
        parts = (each for each in resource.subresources() if isinstance(each.contents, dict))
        queue += [(each, resolver_in(each.contents, resolver, dialect)) for each in parts]
        if _applied(contents, resolver, dialect, applied) > _MAX_APPLIED:
            raise bad_schema(f"its references stand for more than {_MAX_APPLIED} subschemas")


def resolver_in(contents: Any, resolver: Any, dialect: Any) -> Any:
    """Return the resolver for the `$ref`s in `contents`, whose base its id may change."""
    if isinstance(contents, dict) and any(isinstance(contents.get(k), str) for k in _IDS):
        return resolver.in_subresource(dialect.create_resource(contents))
    return resolver


def _references(schema: Any) -> list[str]:
    keys = ("$ref", "$dynamicRef", "$recursiveRef") if isinstance(schema, dict) else ()
    return [schema[key] for key in keys if isinstance(schema.get(key), str)]


def _applied(contents: Any, resolver: Any, dialect: Any, known: dict[int, int]) -> int:
    """Count the subschemas that apply to one value; one that refers to itself counts once.

    `known` has the counts of those that were met before, by their identity.
    """
    if not isinstance(contents, dict):
        return 1
    if id(contents) not in known:
        known[id(contents)] = 1
        inner: list[tuple[Any, Any]] = []
        for key in contents.keys() & {*_APPLIED}:
            value = contents[key]
            inner += [(each, resolver) for each in (value if isinstance(value, list) else [value])]
        for reference in _references(contents):
            found = resolver.lookup(reference)
            inner.append((found.contents, found.resolver))
        for each, its_resolver in inner:
            its_resolver = resolver_in(each, its_resolver, dialect)
            known[id(contents)] += _applied(each, its_resolver, dialect, known)
    return known[id(contents)]


def as_resource(schema: Schema) -> tuple[Any, Any]:
    """Return `schema` as a resource of its dialect, and a resolver for its `$ref`s."""
    root = dialect_of(schema).create_resource(schema)
    return root, _registry().resolver_with_root(root)


def ignores_siblings(schema: Schema) -> bool:
    """Whether the draft of `schema` ignores what stands beside `$ref`: those before 2019."""
    import jsonschema

    return _draft(schema) in (
        jsonschema.Draft4Validator,
        jsonschema.Draft6Validator,
        jsonschema.Draft7Validator,
    )


def knows_keyword(schema: Schema, keyword: str) -> bool:
    """Whether the draft of `schema` has `keyword`."""
    return keyword in _draft(schema).VALIDATORS


def dialect_of(schema: Schema) -> Any:
    """Return the dialect of `schema`, which knows where subschemas are."""
    from referencing.jsonschema import DRAFT202012, specification_with

    return specification_with(schema.get("$schema", ""), default=DRAFT202012)


def validator(schema: Schema) -> Any:
    """Return a validator for the draft that `schema` names, or for the latest draft."""
    # Without a registry of its own, jsonschema would fetch a `$ref` from the network.
    draft = _validator_class(_draft(schema))
    contents = _of_one_dialect(schema, is_root=True)
    return draft(contents, registry=_registry(), format_checker=draft.FORMAT_CHECKER)


_MULTIPLES = {"multipleOf", "divisibleBy"}  # the second in draft 3


@lru_cache(maxsize=8)
def _validator_class(draft: Any) -> Any:
    """Extend jsonschema's validator of `draft`: patterns as in JavaScript, decimal multiples."""
    import jsonschema

    keywords = {"pattern": _pattern, "patternProperties": _pattern_properties}
    keywords |= dict.fromkeys(_MULTIPLES & draft.VALIDATORS.keys(), _multiple_of)
    known = draft.VALIDATORS["additionalProperties"]

    def additional(validator: Any, more: Any, instance: Any, schema: Schema) -> Iterator[Any]:
        patterns = [read_pattern(each) for each in schema.get("patternProperties", ())]
        if not patterns or not validator.is_type(instance, "object"):
            yield from known(validator, more, instance, schema)
            return
        matched = {key for key in instance if any(each.matches(key) for each in patterns)}
        rest = {key: value for key, value in instance.items() if key not in matched}
        without = {key: value for key, value in schema.items() if key != "patternProperties"}
        yield from known(validator, more, rest, without)

    keywords["additionalProperties"] = additional
    return jsonschema.validators.extend(draft, keywords)  # type: ignore[no-untyped-call]


def _pattern(validator: Any, pattern: str, instance: Any, _: Schema) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not read_pattern(pattern).matches(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _multiple_of(validator: Any, divisor: float, instance: Any, _: Schema) -> Iterator[Any]:
    """Check the numbers as they are written: in floating point 19.9 is not a multiple of 0.01."""
    from fractions import Fraction

    from jsonschema import ValidationError

    if not validator.is_type(instance, "number"):
        return
    if Fraction(str(instance)) % Fraction(str(divisor)):
        yield ValidationError(f"{instance!r} is not a multiple of {divisor!r}")


def _pattern_properties(
    validator: Any, members: dict[str, Any], instance: Any, _: Schema
) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in members.items():
        for key, value in instance.items():
            if read_pattern(pattern).matches(key):
                yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _of_one_dialect(schema: Any, *, is_root: bool = False) -> Any:
    """Return `schema` without `$schema` in its parts: each would get a validator of its own."""
    if isinstance(schema, list):
        return [_of_one_dialect(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in _DATA else _of_one_dialect(value)
        for key, value in schema.items()
        if is_root or key != "$schema" or not isinstance(value, str)
    }


def _registry() -> Any:
    """The standard's own schemas, to which a schema may refer."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


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
    except (ArithmeticError, RecursionError, Unresolvable, re.error) as error:
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
