"""Grounded answers: the grammar admits every span of the text, and nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.grammars import admits
from support.strategies import TEXTS

from mistral_cli.engines.decoding.constraint import Constraint
from mistral_cli.engines.registry import backend
from mistral_cli.errors import OutputInvalid, UsageError
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.structured.fields import schema_from_fields
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.spec import BoundSpec, OutputSpec

CTRANSFORMERS = backend("ctransformers")

PERSON = schema_from_fields("name, age int, height float, member bool", nullable=True)


def grounded(schema: Schema, text: str, *, many: bool = False) -> BoundSpec:
    spec = OutputSpec(schema, many=many, grounded=True)
    spec.check()
    return spec.bind(text)


def accepts(bound: BoundSpec, value: Any) -> bool:
    """Whether the grammar admits `value`, which must then be valid."""
    text = json.dumps(value, ensure_ascii=False)
    if not admits(bound.grammar, text):
        return False
    extraction = bound.parse(text)
    for span in extraction.spans:
        value_at_path = extraction.data
        for key in span.path.split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            is_list = isinstance(value_at_path, list)
            value_at_path = value_at_path[int(key) if is_list else key]
        if isinstance(value_at_path, str):
            assert bound.text[span.start : span.end] == value_at_path
    return True


# --- values that the grammar admits ---------------------------------------------------------------

TEXT = 'Jane "JD" Doe, 34, is\n1,85 m tall. See C:\\new.'


@pytest.mark.parametrize(
    ("name", "admitted"),
    [
        ("Jane", True),
        ('Jane "JD" Doe', True),
        ('"JD"', True),
        ("is 1,85 m", True),
        ("C:\\new.", True),
        ("34", True),
        (None, True),
        ("", False),
        ("Jan", False),
        ("Jane Doe", False),
        ("John", False),
        (" Jane", False),
        ("Jane ", False),
        ("is\n1,85", False),
        (34, False),
    ],
)
def test_strings(name: object, admitted: bool) -> None:
    value = {"name": name, "age": None, "height": None, "member": True}
    assert accepts(grounded(PERSON, TEXT), value) is admitted


@pytest.mark.parametrize(
    ("age", "height", "admitted"),
    [
        (34, 1.85, True),
        (34, 34, True),
        (None, None, True),
        (35, None, False),
        (3, None, False),
        (1.85, None, False),
        (None, 1.8, False),
        ("34", None, False),
    ],
)
def test_numbers(age: object, height: object, admitted: bool) -> None:
    value = {"name": None, "age": age, "height": height, "member": False}
    assert accepts(grounded(PERSON, TEXT), value) is admitted


def test_an_answer_with_single_spaces_is_quoted_with_the_whitespace_of_the_text() -> None:
    answer = '{"name": "is 1,85 m", "age": 34, "height": null, "member": true}'
    extraction = grounded(PERSON, TEXT).parse(answer)
    assert extraction.data["name"] == "is\n1,85 m"
    assert [(span.path, TEXT[span.start : span.end]) for span in extraction.spans] == [
        ("/name", "is\n1,85 m"),
        ("/age", "34"),
    ]


NODE: Schema = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "word": {"type": "string"},
                "kind": {"enum": ["leaf", "twig", 3]},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "a/b~c": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            },
            "required": ["word", "kind", "next"],
        }
    },
}
LEAF = {"word": "oak", "kind": "leaf", "next": None}


@pytest.mark.parametrize(
    ("value", "admitted"),
    [
        (LEAF, True),
        ({**LEAF, "next": {**LEAF, "next": LEAF}}, True),
        ({**LEAF, "kind": 3}, True),
        ({**LEAF, "word": ""}, True),
        ({**LEAF, "a/b~c": ["elm", "oak"]}, True),
        ({**LEAF, "a/b~c": []}, True),
        ({**LEAF, "word": "ash"}, False),
        ({**LEAF, "word": None}, False),
        ({**LEAF, "kind": "oak"}, False),
        ({**LEAF, "next": {**LEAF, "word": "ash"}}, False),
        ({**LEAF, "a/b~c": ["elm", "ash"]}, False),
        ({**LEAF, "a/b~c": ["elm", "elm", "elm"]}, False),
        ({**LEAF, "more": "oak"}, False),
    ],
    ids=range(13),
)
def test_nested_schemas(value: object, admitted: bool) -> None:
    assert accepts(grounded(NODE, "oak elm"), value) is admitted
    assert accepts(grounded(NODE, "oak elm", many=True), [value, LEAF]) is admitted


def test_optional_properties_may_be_missing() -> None:
    names = "abcde"
    schema = {
        "properties": {name: {"type": "string"} for name in names},
        "required": ["c"],
    }
    bound = grounded(schema, "x")
    for bits in range(2 ** len(names)):
        value = {name: "x" for i, name in enumerate(names) if bits >> i & 1}
        assert accepts(bound, value) is ("c" in value)
    all_optional = grounded({"properties": schema["properties"]}, "x")
    for bits in range(2 ** len(names)):
        assert accepts(all_optional, {n: "x" for i, n in enumerate(names) if bits >> i & 1})


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "maxLength": 3}, ["a b", "\\", '"'], ["a b c", "beta"]),
        ({"type": "string", "minLength": 2}, ["a b", "beta"], ["a", ""]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["a b"], ["a", "beta", ""]),
        ({"type": "string", "maxLength": 0}, [""], ["a"]),
        ({"type": ["string", "null"], "maxLength": 0}, [None], ["a", ""]),
        ({"type": "string", "pattern": "^b"}, ["beta", "b", "b c"], ["a", "a b", "x", ""]),
        ({"type": ["string", "null"], "format": "date"}, ["2020-02-28", None], ["2020-02-31", "a"]),
        ({"type": "integer", "minimum": 5}, [31, 28, 2020], [2, 1, "a"]),
        ({"type": "number", "multipleOf": 0.5}, [2.5, 2020], [2.25]),
        ({"type": "boolean"}, [True, False], [None, "a"]),
        ({"enum": ["z", "zz", None, 99]}, ["z", "zz", None, 99], ["a", 28]),
        ({"const": {"z": [1]}}, [{"z": [1]}], ["a"]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, ["a", 28], ["z", 99]),
        ({"type": "array", "minItems": 2}, [["a", 28], [["a"], {}]], [["a"], ["a", "z"]]),
        ({"type": "array", "maxItems": 0}, [[]], [["a"]]),
        ({"type": "array", "items": {"type": "integer", "maximum": -1}}, [[]], [[-1], [28]]),
        ({}, ["a", 28, {"z": "a"}, [None, [True]], {}], ["z", 99, {"z": "z"}]),
        ({"type": "object"}, [{"z": "a", "y": [28]}], ["a", {"z": "z"}]),
        ({"additionalProperties": {"type": "integer"}}, [{"z": 28}], [{"z": "a"}]),
        ({"type": "object", "additionalProperties": False}, [{}], [{"a": "a"}]),
        ({"required": ["k"]}, [{"k": "a"}, {"k": None}], [{}, {"k": "z"}]),
        ({"properties": {"k": {"type": "integer", "maximum": 0}}}, [{}], [{"k": 2}, {"k": 0}]),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer",
          "minimum": 28, "exclusiveMinimum": True}, [31], [28]),
        ({"required": ["k"], "additionalProperties": {"type": "integer"}},
         [{"k": 2}], [{"k": "a"}]),
        ({"properties": {"k": False, "a": {"type": "string"}}}, [{"a": "a"}], [{"k": "a"}]),
        ({"type": "array", "items": False}, [[]], [["a"]]),
        ({"anyOf": [{"type": "string"}, {"const": None}]}, ["a", None], [""]),
        ({"anyOf": [{"type": "string"}, {"type": ["null"]}]}, ["a", None], [""]),
        ({"anyOf": [{"type": "string"}, {"enum": [None]}]}, ["a", None], [""]),
        ({"oneOf": [{"type": "integer"}, {"type": "boolean"}], "discriminator": {}},
         [28, True], ["a"]),
        ({"enum": ["z"], "minLength": 1, "title": "t"}, ["z"], ["a"]),
        ({"$id": "http://x.org/a", "properties": {"s": {"$ref": "#/$defs/s"}, "i": {
          "$id": "b", "$ref": "#/$defs/s", "$defs": {"s": {"type": "integer"}}}},
          "$defs": {"s": {"type": "string"}}}, [{"s": "a", "i": 28}], [{"s": 28}, {"i": "a"}]),
    ],
    ids=range(32),
)  # fmt: skip
def test_schemas(schema: Schema, good: list[Any], bad: list[Any]) -> None:
    bound = grounded(schema, 'a b c "beta" \\ 2020-02-28 2020-02-31 2.5')
    assert [value for value in good if not accepts(bound, value)] == []
    assert [value for value in bad if accepts(bound, value)] == []


COMBINED_TEXT = 'oak elm 5 28 2.5 2020-02-28 "x" eu-1 us-2'
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
PAIR: Schema = {"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"allOf": [PAIR, {"required": ["n"]}, {"properties": {"n": {"minimum": 6}}}]},
         [{"n": 28}, {"a": "oak", "n": 28}], [{"n": 5}, {"a": "oak"}, {"a": "ash", "n": 28}]),
        ({**PAIR, "anyOf": [{"required": ["a"]}, {"required": ["n"]}]},
         [{"a": "oak"}, {"n": 5}, {"a": "oak", "n": 5}], [{}]),
        ({"type": "object", **PAIR, "oneOf": [{"properties": {"k": {"const": "x"}}, "required":
          ["k"]}, {"properties": {"k": {"const": "y"}, "n": False}, "required": ["k"]}]},
         [{"a": "oak", "n": 5, "k": "x"}, {"a": "oak", "k": "y"}],
         [{"a": "oak", "n": 5, "k": "y"}, {"a": "oak"}]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}, "maxLength": 3},
         ["oak"], ["2020"]),
        ({"$schema": DRAFT_7, "properties": {"s": {"$ref": "#/definitions/a", "maxLength": 3}},
          "definitions": {"a": {"type": "string"}}}, [{"s": "eu-1"}, {"s": "oak"}], [{"s": 5}]),
        ({"type": ["string", "integer"], "anyOf": [{"type": "integer"}, {"maxLength": 3}]},
         ["oak", 5], ["2020", 2.5]),
        ({"allOf": [{"enum": ["x", "y", 1, True]}, {"enum": ["y", "z", 1.0]}]},
         ["y", 1], ["x", "z", True]),
        ({"type": "string", "enum": ["x", "zzz", 7], "maxLength": 2}, ["x"], ["zzz", 7]),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}],
          "items": {"type": "boolean"}, "minItems": 1},
         [["oak"], ["oak", 5], ["oak", 5, True]], [[], [5], ["oak", 5, 5]]),
        ({"$schema": DRAFT_7, "type": "array", "items": [{"type": "string"}],
          "additionalItems": False}, [[], ["oak"]], [["oak", "elm"], [5]]),
        ({"type": "array", "prefixItems": [{"type": "string"}], "maxItems": 3, "minItems": 3,
          "items": {"type": "integer"}}, [["oak", 5, 28]], [["oak", 5], ["oak", 5, 5, 5]]),
        ({"patternProperties": {"^[a-z]{2}-[0-9]$": {"type": "integer"}}},
         [{}, {"eu-1": 5}, {"zz-9": 5, "us-2": 28}], [{"eu-1": "oak"}, {"oak": 5}]),
        ({"properties": {"eu-0": {"type": "string"}}, "required": ["eu-0"],
          "patternProperties": {"^eu": {"maxLength": 3}}},
         [{"eu-0": "oak"}, {"eu-0": "oak", "eu-1": "elm"}],
         [{"eu-1": "oak"}, {"eu-0": "eu-1"}, {"eu-0": "oak", "us-1": "elm"},
          {"eu-0": "oak", "eu-1": "us-2"}]),
        ({"patternProperties": {"^e": {"type": "integer"}, "": {"type": "string"}}},
         [{"x1": "oak"}], [{"e": 5}, {"e1": "oak"}]),
        ({"patternProperties": {".*": {"type": "integer"}}, "additionalProperties": {}},
         [{}, {"x": 5, "y z": 28}], [{"x": "oak"}]),
        ({"patternProperties": {"^e": {"type": "integer"}, "1$": {"type": "string"}}},
         [{"e": 5, "x1": "oak"}], [{"e1": 5}, {"e1": "oak"}]),
        ({"additionalProperties": {"type": "integer"}, "propertyNames": {"pattern": "^[xy]"}},
         [{"x": 5, "yy": 5}], [{"z": 5}, {"x": "oak"}]),
        ({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1,
          "maxProperties": 2}, [{"x": 5}, {"x": 5, "y": 5}], [{}, {"x": 5, "y": 5, "z": 5}]),
        ({**PAIR, "minProperties": 1}, [{"a": "oak"}, {"n": 5}, {"a": "oak", "n": 5}], [{}]),
        ({"type": "string", "format": "postcode"}, ["oak", "eu-1"], ["ash"]),
        ({"properties": {"a": {"type": "string", "enum": [1]}, "b": {"type": "string"}}},
         [{"b": "oak"}, {}], [{"a": 1}, {"a": "1"}]),
        ({"$ref": "#/$defs/tree", "$defs": {"tree": {"allOf": [{"$ref": "#/$defs/named"}, {
          "properties": {"in": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}]},
          "named": {"properties": {"a": {"type": "string"}}, "required": ["a"]}}},
         [{"a": "oak"}, {"a": "oak", "in": [{"a": "elm", "in": []}]}],
         [{"in": []}, {"a": "oak", "in": [{}]}]),
        ({"anyOf": [{"properties": {"a": {"allOf": [{"minLength": 2}, {"maxLength": 3}]}}}],
          "type": "object", "required": ["a"]}, [{"a": "oak"}], [{"a": "eu-1"}, {"a": ""}, {}]),
    ],
    ids=range(23),
)  # fmt: skip
def test_combined_schemas(schema: Schema, good: list[Any], bad: list[Any]) -> None:
    bound = grounded(schema, COMBINED_TEXT)
    assert [value for value in good if not accepts(bound, value)] == []
    assert [value for value in bad if admits(bound.grammar, json.dumps(value))] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": False}, "required": ["a"]},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"enum": [1], "type": "string"},
        {"type": "array", "minItems": 1, "items": False},
    ],
    ids=range(4),
)
def test_schemas_that_no_value_satisfies(schema: Schema) -> None:
    with pytest.raises(UsageError, match="admits nothing"):
        OutputSpec(schema, grounded=True).check()


@pytest.mark.parametrize(
    ("schema", "unenforced"),
    [
        (PERSON, []),
        ({"type": "array", "uniqueItems": True}, ["uniqueItems"]),
        ({"type": "object", "minProperties": 2, "not": {"minProperties": 9}}, ["not"]),
        ({"properties": {"a": {}}, "minProperties": 1}, []),
        ({"properties": {"a": {}, "b": {}}, "minProperties": 2}, ["minProperties"]),
        ({"properties": {"a": {}}, "maxProperties": 1}, ["maxProperties"]),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, ["oneOf"]),
        ({"type": "string", "format": "postcode"}, []),
        ({"type": "string", "format": "regex"}, ["the format regex"]),
        ({"type": "integer", "format": "int32"}, []),
        ({"properties": {"a": {}}, "dependencies": {"a": ["b"]}}, ["dependencies"]),
        (
            {"properties": {"a": {"enum": [1], "type": "string"}}},
            ["the property 'a', which is left out because no value satisfies it"],
        ),
        ({"type": "string", "anyOf": [{"pattern": f"^{i}"} for i in range(99)]}, ["anyOf"]),
    ],
    ids=range(13),
)
def test_keywords_that_only_validation_enforces_are_listed(
    schema: Schema, unenforced: list[str]
) -> None:
    assert OutputSpec(schema, grounded=True).check() == unenforced


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"properties": {"age": {"type": "integer"}}, "required": ["age"]}, "no number.*'age'"),
        ({"type": "string", "format": "date"}, "no string"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, "no number"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "number"}}}, "no number"),
        ({"type": "string", "minLength": 3, "maxLength": 5}, "no string"),
        ({"type": "string", "minLength": 100}, "no string"),
        (
            {
                "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
                "$defs": {
                    "a": {
                        "properties": {"b": {"$ref": "#/$defs/b"}, "n": {"type": "integer"}},
                        "required": ["b", "n"],
                    },
                    "b": {
                        "properties": {
                            "x": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "integer"}]}
                        },
                        "required": ["x"],
                    },
                },
            },
            "no number",
        ),
    ],
    ids=range(7),
)
def test_a_text_that_lacks_a_required_value(schema: Schema, problem: str) -> None:
    bound = grounded(schema, "no digits")
    with pytest.raises(OutputInvalid, match=problem) as caught:
        bound.check()
    assert "null" in caught.value.hint
    assert admits(grounded(schema, "no digits", many=True).grammar, "[]")


def test_an_impossible_reference_does_not_become_null() -> None:
    schema = {
        "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "$defs": {
            "a": {
                "properties": {"b": {"$ref": "#/$defs/b"}, "n": {"type": "integer"}},
                "required": ["b", "n"],
            },
            "b": {
                "properties": {"x": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "boolean"}]}},
                "required": ["x"],
            },
        },
    }
    bound = grounded(schema, "no digits")
    assert accepts(bound, {"x": True})
    assert not admits(bound.grammar, '{"x": null}')


def test_a_format_that_nothing_checks_is_listed() -> None:
    schema = {"type": "array", "items": [{"format": "postcode"}, {"format": "date"}]}
    spec = OutputSpec({**schema, "$schema": DRAFT_7}, grounded=True)
    assert (spec.unchecked, spec.check()) == (("postcode",), [])


FORMATS = {
    "date": ("2026-12-01", "2026-13-01"),
    "time": ("07:35:00Z", "25:00:00Z"),
    "date-time": ("2026-12-01T07:35:00+01:00", "2026-12-01T07:35"),
    "duration": ("P3DT4H", "P"),
    "email": ("jane.doe@x.org", "jane@"),
    "hostname": ("db-02.x.org", "-db"),
    "ipv4": ("203.0.113.7", "203.0.113.999"),
    "ipv6": ("2001:db8::1", "2001:::1"),
    "uri": ("https://x.org/a?b=c", "no-scheme/a"),
    "uuid": ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_string_with_a_format_is_a_span_of_that_format(name: str) -> None:
    good, bad = FORMATS[name]
    bound = grounded({"type": ["string", "null"], "format": name}, f"hello {good}, or {bad}!")
    assert accepts(bound, good)
    assert accepts(bound, None)
    for wrong in (bad, "!", f"hello {good}", f"{good}, or", ""):
        assert not accepts(bound, wrong)


def test_a_pattern_that_very_many_parts_of_the_text_match_is_enforced() -> None:
    text = " ".join(f"word{number}" for number in range(1500))
    bound = grounded({"type": "string", "pattern": "[1-9]$"}, f'{text} and "9"')
    for good in ("word7 word8 word9", "word1499"):
        assert accepts(bound, good)
    for bad in ("word7 word8 word", "word10", "word9 and", "word2000", ""):
        assert not admits(bound.grammar, json.dumps(bad))


def test_a_pattern_that_takes_exponential_time_to_search_does_not() -> None:
    word = "a" * 60
    bound = grounded({"type": ["string", "null"], "pattern": "^(a+)+$"}, f"{word}! aaa ab")
    assert accepts(bound, "aaa")
    assert accepts(bound, word)
    assert not admits(bound.grammar, json.dumps(f"{word}!"))
    nothing = grounded({"type": "string", "pattern": "^(a+)+$"}, f"{word}b!")
    with pytest.raises(OutputInvalid, match="no string"):
        nothing.check()


@pytest.mark.parametrize(
    "limits",
    [{"pattern": "^[A-Z][a-z]+ [A-Z][a-z]+$"}, {"maxLength": 8}],
    ids=["pattern", "length"],
)
def test_a_line_break_that_the_schema_forbids_stays_a_space(limits: Schema) -> None:
    bound = grounded({"type": "string", **limits}, "in New\n  York")
    assert admits(bound.grammar, '"New York"')
    extraction = bound.parse('"New York"')
    assert extraction.data == "New York"
    assert extraction.spans[0].start == 3


def test_a_text_too_long_to_ground() -> None:
    text = "word " * 50_001
    with pytest.raises(OutputInvalid, match="too many to ground"):
        grounded(PERSON, text).check()
    longest = grounded(PERSON, text[:-6])
    value = {"name": "word word", "age": None, "height": None, "member": True}
    assert accepts(longest, value)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ('{"name": "John", "age": null, "height": null, "member": true}', "'John'"),
        ('{"name": null, "age": 99, "height": null, "member": true}', "99"),
        ('{"name": "Jane", "age": null, "height": null}', "required"),
    ],
)
def test_an_answer_that_bypassed_the_grammar_is_rejected(answer: str, problem: str) -> None:
    with pytest.raises(OutputInvalid, match=problem):
        grounded(PERSON, TEXT).parse(answer)


def test_a_choice_stays_as_the_schema_writes_it_and_has_a_span_if_the_text_has_it() -> None:
    city = {"enum": ["New York", "Rome", 7, True]}
    schema = {"type": "array", "items": city}
    extraction = grounded(schema, "in New\nYork, 7").parse('["New York", "Rome", 7, true]')
    assert extraction.data == ["New York", "Rome", 7, True]
    assert [(s.path, s.start, s.end) for s in extraction.spans] == [("/0", 3, 11), ("/2", 13, 14)]


NUMBERS = "19.90 1e400 123456789012345678901234567890 0.12345678901234567890123 6.02e23 1e22"


def test_no_number_is_rounded() -> None:
    bound = grounded({"type": "number"}, NUMBERS)
    integer = 123456789012345678901234567890
    for literal in ("19.90", str(integer), "6.02e23", "1e22"):
        assert admits(bound.grammar, literal)
    assert bound.parse(str(integer)).data == integer
    assert bound.parse("19.90").data == 19.9
    for literal in ("1e400", "0.12345678901234567890123", "0.12345678901234568"):
        assert not admits(bound.grammar, literal)
    words = grounded({"type": "string"}, NUMBERS)
    for literal in ("19.90", "1e400", "0.12345678901234567890123"):
        assert words.parse(json.dumps(literal)).data == literal
        assert admits(words.grammar, json.dumps(literal))


# --- for any text --------------------------------------------------------------------------------


@settings(max_examples=200)
@given(text=TEXTS, data=st.data())
def test_every_span_of_any_text_can_be_extracted(text: str, data: st.DataObject) -> None:
    bound = grounded({"type": "array", "items": {"type": "string"}}, text)
    units = bound.index.units
    assume(units)
    first = data.draw(st.integers(0, len(units) - 1))
    last = data.draw(st.integers(first + 1, len(units)))
    span = "".join(units[first:last]).strip(" ")
    assume(span)
    assert accepts(bound, [span, span])


@settings(max_examples=200)
@given(text=TEXTS, value=TEXTS)
def test_no_other_text_can_be_extracted(text: str, value: str) -> None:
    schema = {"type": ["string", "null"]}
    assert value in text or not accepts(grounded(schema, text), value)


@pytest.fixture(scope="module")
def model(mistral: Path) -> GGUF:
    return read_gguf(mistral)


@settings(max_examples=60)
@given(text=TEXTS, seed=st.integers(0, 2**32), many=st.booleans())
def test_whatever_tokens_are_sampled_the_answer_comes_from_the_text(
    text: str, seed: int, many: bool, model: GGUF, grammar_tokenizer: object
) -> None:
    assume(text.strip())
    bound = grounded(PERSON, text, many=many)
    matcher = Constraint(grammar_tokenizer, bound.grammar, len(model.tokens))
    choice, tokens = random.Random(seed), list[int]()
    while not matcher.finished and len(tokens) < 2000:
        token = choice.choice(np.flatnonzero(matcher.allowed()).tolist())
        matcher.consume(token)
        tokens += [token, *matcher.forced(100)]
    assume(matcher.finished)
    extraction = bound.parse(detokenize(model, tokens))
    for person in extraction.data if many else [extraction.data]:
        assert person["name"] is None or person["name"] in text


SCALARS = st.sampled_from(
    [
        {"type": "string"},
        {"type": ["string", "null"], "maxLength": 6},
        {"type": "string", "minLength": 2, "maxLength": 9},
        {"type": "string", "pattern": "^[a-z]+$"},
        {"type": ["string", "null"], "format": "date"},
        {"type": "integer"},
        {"type": ["number", "null"], "minimum": 3},
        {"type": "boolean"},
        {"enum": ["x", "New York", 7, None]},
        {"const": {"k": [1]}},
        {},
    ]
)
NAMES = ["a", "b", 'q"', "日"]
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(
            lambda properties, required: {
                "type": "object",
                "properties": properties,
                "required": [name for name in required if name in properties],
            },
            st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
            st.lists(st.sampled_from(NAMES), unique=True),
        )
        | st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most},
                    inner, st.integers(0, 3))
        | st.builds(lambda choices: {"anyOf": choices}, st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda values: {"type": "object", "additionalProperties": values}, inner)
        | st.builds(lambda parts: {"allOf": parts}, st.lists(inner, min_size=1, max_size=2))
        | st.builds(lambda one, choices: {**one, "anyOf": choices}, inner,
                    st.lists(inner, min_size=1, max_size=2))
        | st.builds(lambda values, other: {"type": "object", "properties": {"a": other},
                                           "patternProperties": {"^[ab]": values}}, inner, inner)
        | st.builds(lambda first, others: {"type": "array", "prefixItems": [first],
                                           "items": others, "maxItems": 2}, inner, inner)
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=100)
@given(schema=SCHEMAS, text=TEXTS, seed=st.integers(0, 2**32), many=st.booleans())
def test_whatever_the_grammar_of_any_schema_admits_is_valid(
    schema: Schema, text: str, seed: int, many: bool, model: GGUF, grammar_tokenizer: object
) -> None:
    bound = OutputSpec(schema, many=many, grounded=True).bind(text)
    try:
        assume(not bound.spec.check())
        matcher = Constraint(grammar_tokenizer, bound.grammar, len(model.tokens))
    except (OutputInvalid, UsageError):
        assume(False)
    choice, tokens = random.Random(seed), list[int]()
    while not matcher.finished and len(tokens) < 300:
        token = choice.choice(np.flatnonzero(matcher.allowed()).tolist())
        matcher.consume(token)
        tokens += [token, *matcher.forced(100)]
    assume(matcher.finished)
    answer = detokenize(model, tokens)
    if not has_duplicate_keys(answer):  # the model may repeat a key of an open object
        bound.parse(answer)


def has_duplicate_keys(text: str) -> bool:
    duplicates: list[bool] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        duplicates.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=note)
    return any(duplicates)
