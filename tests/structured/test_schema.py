"""Schemas: which ones are accepted or rejected, and how an answer is validated."""

from __future__ import annotations

import json
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.grammars import admits
from support.strategies import VALUES

from mistral_cli.errors import OutputInvalid, UsageError
from mistral_cli.structured.fields import schema_from_fields
from mistral_cli.structured.grammar import json_grammar
from mistral_cli.structured.schema import ANY_OBJECT, Schema, load_schema
from mistral_cli.structured.spec import BoundSpec, OutputSpec
from mistral_cli.system.terminal import Terminal

PERSON = schema_from_fields("name, age int")
DRAFTS = "http://json-schema.org/draft-{}/schema#"


def check(schema: Schema) -> list[str]:
    return OutputSpec(schema).check()


def parse(text: str, schema: Schema) -> Any:
    return BoundSpec(OutputSpec(schema), "").parse(text).data


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    attempts: list[object] = []

    def refuse(*arguments: object) -> None:
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert attempts == []


# --- loading -------------------------------------------------------------------------------------


def test_a_schema_is_json_text_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text('\ufeff{"type": "object"}', encoding="utf-8")
    assert load_schema(str(path)) == load_schema('\n {"type": "object"}') == {"type": "object"}


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("missing.json", "cannot read the schema missing.json"),
        ("~no-such-user/x.json", "cannot read"),
        ("x" * 5000, "cannot read"),
        ("nul\0", "cannot read"),
        ("true", "cannot read"),
        ("{", "not JSON"),
        ('{"const": NaN}', "not JSON"),
        ('{"const": "\\ud800"}', "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
    ],
)
def test_schemas_that_cannot_be_loaded(reference: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        load_schema(reference)


def test_a_key_that_occurs_twice_in_a_schema_is_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = '{"type": "null", "items": {"minimum": 1, "minimum": 2}, "type": "array"}'
    terminal = Terminal(None, sys.stdout, sys.stderr)
    assert load_schema(text, terminal) == {"type": "array", "items": {"minimum": 2}}
    assert (
        "the key 'minimum' occurs twice in the schema; the last one counts"
        in capsys.readouterr().err
    )


def test_a_schema_file_must_contain_an_object(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    for text in ("true", "[]", "5"):
        path.write_text(text)
        with pytest.raises(UsageError, match="not a JSON object"):
            load_schema(str(path))


# --- checking ------------------------------------------------------------------------------------

RECURSIVE: Schema = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        ANY_OBJECT,
        RECURSIVE,
        {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"pattern": "^[0-9]+$"}}},
        {"$anchor": "x", "type": "object", "properties": {"y": {"$ref": "#x"}}},
        {"$id": "https://x.org/a", "$ref": "#/$defs/b", "$defs": {"b": {"type": "integer"}}},
        {"$schema": DRAFTS.format("04"), "minimum": 3, "exclusiveMinimum": True},
        {"$schema": DRAFTS.format("07"), "definitions": {"a": {}}, "$ref": "#/definitions/a"},
        {"type": "object", "properties": {"$ref": {"type": "string"}}},
        {"const": {"$ref": "http://not.a/reference"}},
        {"type": "string", "format": "date-time"},
        {"type": "object", "title": "t", "examples": [1], "x-own": 2},
        {"x-guidance": {"lenient": False}, "enum": [1, "a", None, "日本"]},
    ],
    ids=str,
)
def test_usable_schemas(schema: Schema) -> None:
    assert check(schema) == []


@pytest.mark.parametrize(
    ("schema", "unenforced"),
    [
        ({"type": "array", "uniqueItems": True}, ["uniqueItems"]),
        ({"not": {"minLength": 2}}, ["not"]),
        ({"if": {"type": "string"}, "then": {"minLength": 3}}, ["if"]),
        (
            {"properties": {"a": {"not": {"minimum": 1}}, "b": {"uniqueItems": True}}},
            ["not", "uniqueItems"],
        ),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ["oneOf"]),
        ({"type": "string", "format": "regex"}, ["the format regex"]),
        ({"prefixItems": [{"format": "regex"}] * 2}, ["the format regex"]),
        ({"pattern": "(?!a)b"}, ["the pattern (?!a)b"]),
        ({"patternProperties": {"^a": {"type": "null"}, "b$": {}}}, ["patternProperties"]),
        ({"minimum": -(2**63), "maximum": 2**63 - 1, "type": "integer"}, ["maximum", "minimum"]),
        ({"properties": {"a": {}, "b": {}}, "minProperties": 2}, ["minProperties"]),
        ({"contains": {"type": "null"}}, ["contains"]),
        ({"dependencies": {"a": ["b"]}, "$schema": DRAFTS.format("07")}, ["dependencies"]),
        ({"pattern": r"^(\S+\s+){0,99}\S+$", "maxLength": 5000}, ["maxLength"]),
        ({"uniqueItems": False, "contains": True, "not": False}, []),
    ],
    ids=str,
)
def test_keywords_that_only_validation_enforces_are_listed(
    schema: Schema, unenforced: list[str]
) -> None:
    notes = check(schema)
    assert len(notes) == len(unenforced)
    assert all(name in note for name, note in zip(unenforced, notes, strict=True))


@pytest.mark.parametrize("schema", [{"format": "no-such"}, {"items": [{"format": "no-such"}] * 2}])
def test_an_unknown_format_is_an_annotation(schema: Schema) -> None:
    spec = OutputSpec({"$schema": DRAFTS.format("07"), **schema})
    assert spec.check() == []
    assert spec.unchecked == ("no-such",)


DEEP: Schema = {}
for _ in range(5000):
    DEEP = {"items": DEEP}

# Each definition refers twice to the one before: a validator would follow 2 ** 29 references.
LAUGHS: Schema = {"$defs": {"a0": {"type": "integer"}}, "$ref": "#/$defs/a29"}
for n in range(29):
    LAUGHS["$defs"][f"a{n + 1}"] = {"anyOf": [{"$ref": f"#/$defs/a{n}"}] * 2}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "strng"}, r"'strng' .* \(at \$\.type\)"),
        ({"properties": {"a": {"type": 5}}}, r"\$\.properties\.a\.type"),
        ({"properties": [1]}, "is not of type 'object'"),
        ({"type": "string", "pattern": "(["}, r"'\(\[' is not a regular expression"),
        ({"not": {"pattern": r"a\p{Script=Klingon}"}}, "Klingon.* is not a regular expression"),
        ({"patternProperties": {"*": {}}}, r"'\*' is not a regular expression: nothing to repeat"),
        ({"enum": []}, "no value matches it"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "Unsatisfiable"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "refers to 'http://127.0.0.1:9/x.json'"),
        ({"not": {"$ref": "https://x.org/x.json"}}, "refers to 'https://x.org/x.json'"),
        ({"$defs": {"a": {"$ref": "file:///etc/passwd"}}}, "refers to 'file:///etc/passwd'"),
        ({"$dynamicRef": "http://127.0.0.1:9/a"}, "refers to"),
        ({"$id": "http://127.0.0.1:9/a", "items": {"$ref": "b"}}, "refers to 'b'"),
        ({"$ref": "#/$defs/no"}, "refers to '#/\\$defs/no'"),
        ({"$ref": "#nowhere"}, "refers to '#nowhere'"),
        ({"$dynamicRef": "#nowhere"}, "refers to '#nowhere'"),
        ({"$ref": "#"}, "refers to itself without end"),
        ({"$schema": 5}, r"\$schema"),
        ({"$schema": ["a"]}, r"\$schema"),
        ({"$schema": "https://x.org/dialect"}, "dialect"),
        ({"$id": "http://[", "$ref": "#"}, "cannot be used"),
        ({"$id": {}}, r"not of type 'string' \(at \$\['\$id'\]\)"),
        ({"items": {"$id": 5}}, "not of type 'string'"),
        ({"const": float("nan")}, "cannot be used"),
        ({"const": "\ud800"}, "half of a surrogate pair"),
        ({"const": object()}, "cannot be used"),
        (DEEP, "nested too deeply"),
        (LAUGHS, "stand for more than 100000 subschemas"),
        ({"$schema": "http://json-schema.org/draft-03/schema#", "required": True}, "draft 3"),
    ],
    ids=range(30),
)
def test_unusable_schemas(schema: Schema, problem: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match=problem) as caught:
            check(schema)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


WIDE = {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(1000)}}
NODE = {"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 1}
TREE = {"type": "object", "properties": {"children": NODE}, "required": ["children"]}


@pytest.mark.parametrize(
    "schema",
    [
        WIDE,
        {"type": "object", "properties": {"name": {"type": "string"}, "inner": WIDE}},
        {"anyOf": [{"type": "string"}, {"type": "null"}, WIDE]},
        {"type": "object", "properties": {"name": {"type": ["string", "object"]}, "inner": WIDE}},
        {"enum": [{"number": n} for n in range(3000)]},
        {"type": "array", "items": {"const": 1}, "minItems": 10_000_000},
        {"type": "string", "pattern": "^((a{1000}){1000}){1000}$"},
        {"$ref": "#/$defs/node", "$defs": {"node": TREE}},
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_a_schema_that_exceeds_a_limit_of_the_grammar(schema: Schema, many: bool) -> None:
    with pytest.raises(UsageError, match="too large to enforce, or no finite value"):
        OutputSpec(schema, many).check()


def test_the_grammar_is_lenient_and_allows_no_extra_whitespace() -> None:
    text = json_grammar({"type": "object", "x-guidance": {"lenient": False}}, many=False)
    assert text.startswith("%llguidance {}\nstart: item\nitem: %json ")
    options = json.loads(text.split("%json ")[1])["x-guidance"]
    assert options["lenient"] is True
    assert options["whitespace_flexible"] is False
    assert not llguidance.LLMatcher.validate_grammar(text)


AB: Schema = {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "open_to_others"),
    [
        ({"type": "object", **AB}, False),
        ({"type": "array", "items": {"type": "object", **AB}}, False),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", **AB}}}, False),
        ({"anyOf": [{"type": "object", **AB}, {"type": "null"}]}, False),
        ({"type": "object", **AB, "additionalProperties": True}, True),
        ({"type": "object", **AB, "additionalProperties": {"type": "integer"}}, True),
        ({"type": "object", **AB, "patternProperties": {"^o": {"type": "integer"}}}, True),
        ({"type": "object", **AB, "required": ["other"]}, True),
        ({"allOf": [{"type": "object", **AB}, {"properties": {"other": {}}}]}, True),
        ({"type": "object", **AB, "anyOf": [{"properties": {"other": {}}}, {}]}, True),
        ({"type": "object"}, True),
        ({"type": "object", "properties": {}}, True),
        ({"properties": {"x": {"allOf": [{}, {}]}, "b": {"type": "integer"}}}, False),
        ({"type": "object", **AB, "example": 1, "nullable": False}, False),
        ({"properties": {"b": {}}, "enum": [{"other": 1}]}, True),
    ],
    ids=range(15),
)
def test_an_object_that_names_its_properties_may_have_no_others(
    schema: Schema, open_to_others: bool
) -> None:
    check(schema)
    grammar = json_grammar(schema, many=False)
    value = '[{"other": 1}]' if schema.get("type") == "array" else '{"other": 1}'
    assert admits(grammar, value) is open_to_others
    if not open_to_others:
        assert admits(grammar, value.replace("other", "b"))


def test_a_property_that_another_keyword_requires_stays_possible() -> None:
    schema = {"properties": {"a": {}}, "required": ["a"], "dependentRequired": {"a": ["b"]}}
    check(schema)
    assert admits(json_grammar(schema, many=False), '{"a": 1, "b": 2}')
    part = {"type": "object", "properties": {"a": {"type": "integer"}}}
    schema = {"allOf": [{"$ref": "#/$defs/p"}, {"required": ["b"]}], "$defs": {"p": part}}
    check(schema)
    assert admits(json_grammar(schema, many=False), '{"a": 1, "b": 2}')


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    named = ["properties", "allOf", "enum", "items", "$ref", "additionalProperties"]
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in named}}
    assert check(schema) == []
    grammar = json_grammar(schema, many=False)
    assert admits(grammar, json.dumps(dict.fromkeys(named, 1)))
    assert not admits(grammar, '{"other": 1}')


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("[]", True),
        ('[{"name": "x", "age": 7}]', True),
        ('[{"name": "x", "age": 7}, {"name": "y", "age": 8}]', True),
        ('{"name": "x", "age": 7}', False),
        ('[{"name": "x"}]', False),
        ('[{"name": "x", "age": 7}] ', False),
        ('[ {"name": "x", "age": 7}]', False),
    ],
)
def test_lists(text: str, admitted: bool) -> None:
    spec = OutputSpec(PERSON, many=True)
    assert spec.check() == []
    assert admits(spec.bind("").grammar, text) is admitted
    if admitted:
        assert spec.bind("").parse(text).data == json.loads(text)


@pytest.mark.parametrize("text", ['{"name": "x", "age": 7}', '[{"name": "x"}]', "[1]", "[[]]", "["])
def test_answers_that_are_not_a_list_of_items(text: str) -> None:
    with pytest.raises(OutputInvalid):
        BoundSpec(OutputSpec(PERSON, many=True), "").parse(text)


def test_references_work_in_lists() -> None:
    bound = BoundSpec(OutputSpec(RECURSIVE, many=True), "")
    text = '[{"value": 1, "next": {"value": 2, "next": null}}, {"value": 3, "next": null}]'
    assert admits(bound.grammar, text)
    assert bound.parse(text).data == json.loads(text)


# --- parsing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ('{"name": "Zoë 日本 😀", "age": 7}', PERSON, {"name": "Zoë 日本 😀", "age": 7}),
        ('{"name": "\\ud83d\\ude00", "age": 7}', PERSON, {"name": "😀", "age": 7}),
        (f'{{"name": "", "age": {10**60 + 1}}}', PERSON, {"name": "", "age": 10**60 + 1}),
        (' \n{"a": [1, 2.5, null]}\n', ANY_OBJECT, {"a": [1, 2.5, None]}),
        ('{"value": 1, "next": {"value": 2, "next": null}}', RECURSIVE,
         {"value": 1, "next": {"value": 2, "next": None}}),
        ("null", {}, None),
        ("4", {"$schema": DRAFTS.format("04"), "minimum": 3, "exclusiveMinimum": True}, 4),
    ],
)  # fmt: skip
def test_good_answers(text: str, schema: Schema, expected: Any) -> None:
    assert parse(text, schema) == expected


@pytest.mark.parametrize(
    ("text", "schema", "problem"),
    [
        ("", {}, "not JSON"),
        ("{} and more", {}, "not JSON: Extra data"),
        ('```json\n{"name": 1}\n```', {}, "not JSON"),
        ("NaN", {}, "not JSON"),
        ("[-Infinity]", {}, "not JSON"),
        ("1e999", {}, "not JSON"),
        ('"\\ud800"', {}, "not JSON"),
        ('"a\nb"', {}, "not JSON"),
        ('{"a": 1, "b": 2, "b": 3}', {}, "'b' occurs twice"),
        ('{"x": {"a": 1, "a": 1}}', {}, "'a' occurs twice"),
        ("9" * 5000, {}, "not JSON"),
        ("[" * 100_000, {}, "not JSON"),
        ('{"name": "x", "age": "7"}', PERSON, r"at \$\.age: '7' is not of type 'integer'"),
        ('{"name": "x"}', PERSON, r"at \$: 'age' is a required property"),
        ('{"name": "x", "age": 7, "extra": 1}', PERSON, "'extra' was unexpected"),
        ('{"name": "x", "age": true}', PERSON, "True is not of type 'integer'"),
        ('{"next": null}', RECURSIVE, "'value' is a required property"),
        ('"no date"', {"format": "date"}, "is not a 'date'"),
        ('"x"', {"type": "string", "format": "email"}, "is not a 'email'"),
        ("[1, 1]", {"uniqueItems": True}, "non-unique"),
        ("3", {"$schema": DRAFTS.format("04"), "minimum": 3, "exclusiveMinimum": True}, "minimum"),
        ("[" * 400 + "]" * 400, {"items": {"$ref": "#"}}, "cannot be validated"),
        ("19.905", {"multipleOf": 0.01}, "19.905 is not a multiple of 0.01"),
        ("1", {"$ref": "http://127.0.0.1:9/x.json"}, "cannot be validated"),
        (json.dumps({"name": "long " * 9999, "age": []}), {"type": "array"}, "is not of type"),
    ],
    ids=range(25),
)
def test_bad_answers(text: str, schema: Schema, problem: str) -> None:
    with pytest.raises(OutputInvalid, match=problem) as caught:
        parse(text, schema)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("draft", ["03", "04", "07"])
@pytest.mark.parametrize("text", ["19.9", "-0.3", "7", "1" + "0" * 400])
def test_multiples_are_decimal(draft: str, text: str) -> None:
    keyword = "divisibleBy" if draft == "03" else "multipleOf"
    schema = {"$schema": DRAFTS.format(draft), "type": "number", keyword: 0.1}
    assert parse(text, schema) == json.loads(text)


def test_free_text_is_a_schema_that_was_not_enforced() -> None:
    with pytest.raises(OutputInvalid, match="could not enforce the schema") as caught:
        parse("{Sure, here it is", ANY_OBJECT)
    assert caught.value.hint == "Simplify the schema."
    with pytest.raises(OutputInvalid, match="'a' occurs twice") as caught:
        parse('{"a": 1, "a": 1}', ANY_OBJECT)
    assert "--seed" in caught.value.hint


@given(value=VALUES, ascii_only=st.booleans())
def test_any_value_survives(value: Any, ascii_only: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii_only), {}) == value


@given(text=st.text(alphabet='{}[]",:0123456789eE+-.truefalsnINy\\ \n\ud800', max_size=40))
def test_any_text_is_json_or_an_error(text: str) -> None:
    try:
        value = parse(text, {})
    except OutputInvalid:
        return
    assert parse(json.dumps(value), {}) == value
