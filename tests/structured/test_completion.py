"""The shortest completions of JSON texts: valid after any beginning, and little invented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_cli.structured.completion import (
    Completion,
    complete_json,
    completions,
    required_names,
)
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.spec import OutputSpec

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=6)

Typed = tuple[Schema, Any]
"""A schema and a value of it."""


def _scalars() -> st.SearchStrategy[Typed]:
    strings = TEXT.map(lambda text: ({"type": "string"}, text))
    bounded = TEXT.map(lambda t: ({"type": "string", "minLength": len(t), "maxLength": 9}, t))
    numbers = st.one_of(st.integers(-999, 999), st.floats(-9, 9, width=16)).map(
        lambda n: ({"type": "number"}, n)
    )
    least = st.integers(-99, 99).map(lambda n: ({"type": "integer", "minimum": n}, n))
    choices = st.lists(TEXT, min_size=1, max_size=4, unique=True).map(
        lambda texts: ({"enum": texts}, texts[-1])
    )
    words = st.sampled_from([True, False, None]).map(lambda w: ({"type": ["boolean", "null"]}, w))
    date = st.just(({"type": "string", "format": "date"}, "2024-02-29"))
    return st.one_of(strings, bounded, numbers, least, choices, words, date)


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    members = draw(st.dictionaries(TEXT, st.tuples(inner, st.booleans()), max_size=4))
    schema = {
        "type": "object",
        "properties": {name: typed[0] for name, (typed, _) in members.items()},
        "required": [name for name, (_, required) in members.items() if required],
        "additionalProperties": False,
    }
    shown = {n: t[1] for n, (t, required) in members.items() if required or draw(st.booleans())}
    return schema, shown


@st.composite
def _lists(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    schema, value = draw(inner)
    count = draw(st.integers(0, 3))
    return {"type": "array", "items": schema, "minItems": draw(st.integers(0, count))}, [
        value
    ] * count


@st.composite
def _maps(draw: st.DrawFn, inner: st.SearchStrategy[Typed]) -> Typed:
    schema, value = draw(inner)
    keys = draw(st.lists(TEXT, max_size=2, unique=True))
    return {"type": "object", "additionalProperties": schema}, dict.fromkeys(keys, value)


TYPED = st.recursive(
    _scalars(), lambda inner: st.one_of(_objects(inner), _lists(inner), _maps(inner)), max_leaves=6
)


def complete(schema: Schema, beginning: str) -> Completion:
    found = complete_json(OutputSpec(schema).grammar, beginning, required_names(schema))
    assert found is not None
    return found


@settings(max_examples=40, deadline=None)
@given(TYPED)
def test_any_beginning_of_a_valid_text_has_a_valid_completion(typed: Typed) -> None:
    schema, value = typed
    spec, text = OutputSpec(schema).bind(""), json.dumps(value, ensure_ascii=False)
    for end in range(len(text) + 1):
        found = complete(schema, text[:end])
        spec.parse(found.text)
        assert found.text.startswith(text[: found.kept])
        assert found.kept <= end
    assert found.text == text


PERSON: Schema = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "age": {"type": ["integer", "null"]},
        "kind": {"enum": ["a long kind", "short"]},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["name", "age"],
}


@pytest.mark.parametrize(
    ("beginning", "completed"),
    [
        ("", '{"name": "", "age": null}'),
        ('{"not', '{"name": "", "age": null}'),
        ('{"note": ', '{"name": "", "age": null}'),
        ('{"note": "', '{"name": "", "age": null}'),
        ('{"note": "ab\\', '{"note": "ab", "name": "", "age": null}'),
        ('{"note": "ab\\\\', '{"note": "ab\\\\", "name": "", "age": null}'),
        ('{"name": "Bo\\u00', '{"name": "Bo", "age": null}'),
        ('{"name": "é😀', '{"name": "é😀", "age": null}'),
        ('{"name": "Bo", ', '{"name": "Bo", "age": null}'),
        ('{"name": "Bo", "ta', '{"name": "Bo", "age": null}'),
        ('{"name": "Bo", "tags": ["a", "b', '{"name": "Bo", "tags": ["a", "b"], "age": null}'),
        ('{"name": "Bo", "tags": ["a", ', '{"name": "Bo", "tags": ["a"], "age": null}'),
        ('{"name": "Bo", "age": 1', '{"name": "Bo", "age": 1}'),
        ('{"name": "Bo", "age": -', '{"name": "Bo", "age": null}'),
        ('{"name": "Bo", "age": n', '{"name": "Bo", "age": null}'),
        ('{"name": "", "age": 1, "kind": "a', '{"name": "", "age": 1, "kind": "a long kind"}'),
        ('{"name": "Bo", "age": 1, "kind": "', '{"name": "Bo", "age": 1}'),
        ('{"name": "", "age": 1, "map": {"x": 1, "y', '{"name": "", "age": 1, "map": {"x": 1}}'),
    ],
)  # fmt: skip
def test_what_is_open_ends_and_what_is_required_follows(beginning: str, completed: str) -> None:
    assert complete(PERSON, beginning).text == completed


def test_a_completion_names_what_it_cut_and_what_it_invented() -> None:
    found = complete(PERSON, '{"name": "B", "tags": ["a", "b')
    assert found.cut == ("tags", 1)
    assert [(gap.path, found.text[: gap.start]) for gap in found.gaps] == [
        (("age",), '{"name": "B", "tags": ["a", "b"], "age": ')
    ]
    item = {"type": "object", "properties": {"kind": {"const": "x"}, "n": {"type": "number"}}}
    schema = {"type": "array", "items": {**item, "required": ["kind", "n"]}, "minItems": 2}
    found = complete(schema, '[{"kind": "x"')
    assert found.text == '[{"kind": "x", "n": 0}, {"kind": "x", "n": 0}]'
    assert [gap.path for gap in found.gaps] == [(0, "n"), (1,)]


@pytest.mark.parametrize(
    ("beginning", "cut"),
    [("", ()), ("{", ()), ('{"', ()), ('{"na', ()), ('{"name": "B', ("name",))],
)
def test_before_the_first_key_the_object_is_what_was_cut(beginning: str, cut: Any) -> None:
    schema = {"type": "object", "properties": {"in": PERSON, "name": {"type": "string"}}}
    assert complete(schema, beginning).cut == cut
    assert complete(schema, f'{{"in": {beginning}').cut == ("in", *cut)
    assert complete({"type": "array", "items": PERSON}, f"[{beginning}").cut == (0, *cut)


def test_the_next_completions_leave_out_more() -> None:
    schema = {"type": "array", "items": PERSON}
    beginning = '[{"name": "A", "age": 1}, {"name": "B", "tags": ["c'
    grammar = OutputSpec(schema).grammar
    assert [found.text for found in completions(grammar, beginning, required_names(schema))] == [
        '[{"name": "A", "age": 1}, {"name": "B", "tags": ["c"], "age": null}]',
        '[{"name": "A", "age": 1}, {"name": "B", "tags": [], "age": null}]',
        '[{"name": "A", "age": 1}, {"name": "B", "age": null}]',
        '[{"name": "A", "age": 1}]',
        "[]",
    ]
    numbers = [
        found.text
        for found in completions(OutputSpec({"type": "array"}).grammar, "[1, 2, 3, 4, 5", ())
    ]
    assert numbers == ["[1, 2, 3, 4, 5]", "[1, 2, 3, 4]", "[1, 2]", "[1]", "[]"]


def test_a_scalar_that_would_be_invented_goes() -> None:
    date: Schema = {"type": "string", "format": "date"}
    schema = {"type": "object", "properties": {"born": date}}
    assert complete(schema, '{"born": "2024-0').text == "{}"
    required = {**schema, "required": ["born"]}
    found = complete(required, '{"born": "2024-0')
    assert [gap.path for gap in found.gaps] == [("born",)]
    OutputSpec(required).bind("").parse(found.text)


def test_the_way_out_of_a_schema_that_contains_itself() -> None:
    node = {"$ref": "#/$defs/node"}
    sum_of: Schema = {
        "type": "object",
        "properties": {"add": {"type": "array", "items": node, "minItems": 2}},
        "required": ["add"],
    }
    leaf = {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]}
    schema = {**node, "$defs": {"node": {"anyOf": [sum_of, leaf]}}}
    assert complete(schema, "").text == '{"value": 0}'
    assert complete(schema, '{"add": [{').text == '{"add": [{"value": 0}, {"value": 0}]}'


@pytest.mark.parametrize(
    "pattern",
    [r"\w+", r"[A-Z]", r"^\d{3}-\d{4}$", r"^[a-z]+@[a-z]+\.[a-z]{2,}$", "^(ab)+$"],
)
def test_a_string_that_a_pattern_requires(pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    OutputSpec(schema).bind("").parse(complete(schema, "").text)


def test_a_value_that_is_too_long_has_no_completion() -> None:
    schema = {"type": "string", "minLength": 5000}
    grammar = OutputSpec(schema).grammar
    assert complete_json(grammar, '"ab', required_names(schema)) is None
