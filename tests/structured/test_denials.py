"""What a schema denies: enforced by its grammar, or the schema is refused if no value is left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mistral_cli.errors import UsageError
from mistral_cli.structured.completion import admits, complete_json
from mistral_cli.structured.denials import without_denials
from mistral_cli.structured.schema import Schema, validation_problem
from mistral_cli.structured.spec import OutputSpec

A_OR_B = {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer"}}
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def required(*names: str) -> Schema:
    return {"required": [*names]}


IMPOSSIBLE: list[Schema] = [
    {"const": 1e308},
    {"const": {"a": [1e23]}},
    {"enum": [1e308]},
    {"not": {}},
    {"not": True},
    {"not": {"description": "all"}},
    {"not": {"not": {"not": {}}}},
    {"type": "integer", "not": {"type": ["number", "null"]}},
    {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]},
    {"type": "array", "minItems": 1, "items": {"not": {}}},
    {"allOf": [{"type": "string"}, {"not": {}}]},
    {"enum": [1, "a"], "not": {"enum": ["a", 1.0]}},
    {"const": "a", "not": {"const": "a"}},
    {"type": "array", "contains": False},
    {"type": "array", "contains": {"not": {}}},
    {"type": "array", "contains": {"type": "null"}, "minContains": 2, "maxItems": 1},
    {"type": "array", "contains": True, "minContains": 2, "maxContains": 1},
    {"type": "array", "uniqueItems": True, "minItems": 3, "items": {"type": "boolean"}},
    {"oneOf": [{"type": "string"}, {"type": "string"}]},
    {**required("a"), "type": "object", "not": required("a")},
    {**required("a", "b"), "type": "object", "oneOf": [required("a"), required("b")]},
    {"type": "object", "propertyNames": False, "minProperties": 1},
    {"if": {}, "then": False},
    {"$ref": "#/$defs/none", "$defs": {"none": {"not": {}}}},
]


@pytest.mark.parametrize("schema", IMPOSSIBLE, ids=json.dumps)
def test_a_schema_without_values_is_refused(schema: Schema) -> None:
    with pytest.raises(UsageError, match="the schema cannot be used"):
        OutputSpec(schema).check()
    if "not" in schema:
        with pytest.raises(UsageError):
            OutputSpec(schema, grounded=True).check()


PARTLY: list[tuple[Schema, list[Any], list[Any]]] = [
    # a schema, values that its grammar admits, and values that it does not admit
    ({"const": 1e22}, [10**22], [2]),
    ({"enum": [1e308, 2.5]}, [2.5], []),
    ({"anyOf": [{"type": "string"}, {"not": {}}]}, ["x"], [None, 1]),
    ({"not": {"type": ["null", "object"]}}, ["x", [], 1.5], [None, {}]),
    ({"enum": ["a", "b"], "not": {"const": "a"}}, ["b"], ["a"]),
    ({"type": "array", "items": {"not": {}}}, [[]], [[1]]),
    ({"type": "array", "contains": {}}, [[1], ["x", None]], [[]]),
    ({"contains": False}, ["x", {}], [[]]),
    ({"$schema": DRAFT_4, "type": "array", "contains": False}, [[], [1]], []),
    ({"type": "array", "uniqueItems": True, "items": {"enum": [1, 2]}}, [[2, 1]], [[1, 2, 2]]),
    (
        {"type": "object", "properties": A_OR_B, "oneOf": [required("a"), required("b", "c")]},
        [{"a": 1}, {"a": 1, "b": 2}, {"b": 1, "c": 2}],
        [{"a": 1, "b": 2, "c": 3}, {}],
    ),
    ({"type": "object", "properties": A_OR_B, "not": required("b")}, [{"a": 1}], [{"b": 2}]),
    ({"not": {"type": "object", "required": ["b"]}}, [{"a": 1}, 1], [{"b": 2}]),
    (
        {
            "$schema": DRAFT_7,
            "type": "object",
            "properties": {"a": {"$ref": "#/definitions/none"}, "b": {"type": "integer"}},
            "definitions": {"none": {"not": {}}},
        },
        [{"b": 1}, {}],
        [{"a": 1}],
    ),
    ({"if": True, "then": {"type": "string"}, "else": False}, ["x"], [1]),
]


@pytest.mark.parametrize(("schema", "admitted", "denied"), PARTLY, ids=str)
def test_the_grammar_denies_what_the_schema_denies(
    schema: Schema, admitted: list[Any], denied: list[Any]
) -> None:
    spec = OutputSpec(schema)
    spec.check()
    for value in admitted:
        assert admits(spec.grammar, json.dumps(value))
        assert validation_problem(value, schema) is None
    for value in denied:
        assert not admits(spec.grammar, json.dumps(value))
        assert validation_problem(value, schema) is not None
    found = complete_json(spec.grammar, "", ())
    assert found
    assert validation_problem(json.loads(found.text), schema) is None


def test_a_schema_that_refers_into_a_denial_stays() -> None:
    schema = {"properties": {"a": {"not": {"type": "null"}}, "b": {"$ref": "#/properties/a/not"}}}
    assert without_denials(schema) is schema
