"""What a grammar admits where it cannot enforce all of a schema: never less than is valid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.grammars import admits

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.spec import OutputSpec

DRAFT7 = {"$schema": "http://json-schema.org/draft-07/schema#"}
TREE: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "child": {"$ref": "#/$defs/tree", "minProperties": 1},
    },
}
BASE: Schema = {"properties": {"name": {"type": "string"}, "inner": {"$ref": "#/$defs/both"}}}
MORE: Schema = {"properties": {"size": {"type": "integer"}}, "required": ["size"]}
NUMBERS: Schema = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "valid", "excluded", "invalid"),
    [
        pytest.param(
            {"$ref": "#/$defs/tree", "$defs": {"tree": TREE}},
            [{"name": "a", "child": {"name": "b"}}],
            [{"name": 1}, {"child": {"name": 1}}],
            [{"child": {}}],
            id="a circle, beside other keywords",
        ),
        pytest.param(
            {
                "$ref": "#/$defs/both",
                "$defs": {"base": BASE, "both": {"allOf": [{"$ref": "#/$defs/base"}, MORE]}},
            },
            [{"name": "a", "inner": {"size": 1}, "size": 2}],
            [{"name": 1, "size": 1}, {"inner": {"size": "1"}, "size": 1}, {"size": "1"}],
            [],
            id="a circle through allOf",
        ),
        pytest.param(
            {
                **DRAFT7,
                "definitions": {"n": {"type": "integer"}},
                "items": {"$ref": "#/definitions/n", "type": "string"},
                "type": "array",
            },
            [[1, 2]],
            [["a"]],
            [],
            id="what stands beside $ref counts for nothing before 2019",
        ),
        pytest.param(
            {
                "type": "object",
                "patternProperties": {"^a": NUMBERS, "b$": {"type": "null"}, "^c": NUMBERS},
                "additionalProperties": False,
            },
            [{"a": 1}, {"b": None}, {"c": 1}],
            [{"a": "1"}, {"c": "x"}, {"d": 1}],
            [{"a": None}, {"ab": 1}, {"c": None}],
            id="patterns of keys that overlap",
        ),
        pytest.param(
            {
                "type": "object",
                "patternProperties": {"^(?!x-)": NUMBERS},
                "additionalProperties": {"type": "null"},
            },
            [{"a": 1}, {"x-a": None}],
            [{"a": "1"}],
            [{"a": None}, {"x-a": 1}],
            id="a pattern of keys that a grammar cannot express",
        ),
        pytest.param(
            {
                "additionalProperties": False,
                "oneOf": [{"required": ["a"]}, {"required": ["bb"]}],
                "patternProperties": {"^(a|bb)$": NUMBERS},
                "type": "object",
            },
            [{"a": 1}, {"bb": 1}],
            [{"a": "1"}, {"c": 1}],
            [{"a": 1, "bb": 2}],
            id="patternProperties after additionalProperties",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"a": NUMBERS, "b": NUMBERS, "c": NUMBERS},
                "minProperties": 2,
                "additionalProperties": False,
            },
            [{"a": 1, "c": 2}],
            [{"d": 1}],
            [{"a": 1}],
            id="two of three properties",
        ),
        pytest.param(
            {"items": {"$ref": "http://json-schema.org/draft-07/schema#"}, "type": "array"},
            [[{"minimum": 3, "type": "integer"}, True]],
            [[{"minimum": "3"}], [5]],
            [],
            id="a reference to the standard's own schema",
        ),
        pytest.param(
            {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
            [5, -(2**63)],
            ["5"],
            [2**63],
            id="bounds of 64 bits",
        ),
        pytest.param(
            {
                "type": ["string", "array", "object"],
                "minLength": 2.0,
                "maxLength": 2**53 - 1,
                "minItems": 1.0,
                "maxItems": 2**64,
                "minProperties": 1.0,
                "maxProperties": 1e300,
            },
            ["ab", [1], {"a": 1}],
            ["a", [], {}],
            [],
            id="sizes that are written as fractions, or that no answer exceeds",
        ),
        pytest.param({"enum": [1, "a", 1, True]}, [1, "a", True], [2], [], id="a choice twice"),
        pytest.param(
            {
                "oneOf": [
                    {
                        "properties": {"kind": {"const": "a"}, "x": NUMBERS},
                        "required": ["kind", "x"],
                    },
                    {
                        "properties": {"kind": {"const": "b"}, "y": NUMBERS},
                        "required": ["kind", "y"],
                    },
                ],
                "type": "object",
            },
            [{"kind": "a", "x": 1}, {"kind": "b", "y": 1}],
            [{"kind": "b", "x": 1}, {"kind": "c", "x": 1}],
            [],
            id="parts of oneOf that a property tells apart",
        ),
    ],
)
def test_the_grammar_admits_what_is_valid_and_validation_refuses_the_rest(
    schema: Schema, valid: list[Any], excluded: list[Any], invalid: list[Any]
) -> None:
    spec = OutputSpec(schema)
    unenforced = spec.check()
    bound = spec.bind("")
    for value in valid:
        text = json.dumps(value)
        assert admits(bound.grammar, text), text
        assert bound.parse(text).data == value
    for value in excluded:
        assert not admits(bound.grammar, json.dumps(value)), value
    for value in invalid:
        assert unenforced
        with pytest.raises(OutputInvalid, match="does not match the schema"):
            bound.parse(json.dumps(value))


def test_sizes_in_a_grounded_schema() -> None:
    schema = {"type": "array", "minItems": 1.0, "maxItems": 2**64}
    schema |= {"items": {"type": "string", "maxLength": 2**53 - 1}}
    spec = OutputSpec(schema, grounded=True)
    assert spec.check() == []
    bound = spec.bind("Bob, 34")
    bound.check()
    assert admits(bound.grammar, '["Bob"]')
    assert not admits(bound.grammar, "[]")


def test_a_named_key_comes_once_and_is_no_additional_one() -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": NUMBERS}
    grammar = OutputSpec(schema).grammar
    assert admits(grammar, '{"a": "x", "b": 1}')
    assert not admits(grammar, '{"a": "x", "a": 1}')
    assert not admits(grammar, '{"b": 1, "a": 1}')
    assert admits(grammar, '{"b": 1, "b": 1}')  # which no grammar can exclude for every key
    once = OutputSpec(schema, once=("b",)).grammar
    assert admits(once, '{"a": "x", "b": 1, "c": 2}')
    assert not admits(once, '{"b": 1, "b": 1}')
