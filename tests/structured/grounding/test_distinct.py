"""Another attempt does not repeat what a cut or invalid answer repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.grammars import admits

from mistral_cli.structured.grounding.repetitions import repetitions, written
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.spec import OutputSpec

TEXT = "oak elm ash fir 5 28 2.50"
WORDS: Schema = {"type": "array", "items": {"type": "string"}}
TREE: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"]},
        "tall": {"type": "boolean"},
    },
    "required": ["name", "age"],
}


@pytest.mark.parametrize(
    ("schema", "many", "cut", "good", "bad"),
    [
        (WORDS, False, '["oak", "elm", "oak", "el',
         ['["oak"]', '["elm", "oak", "elm"]', '["ash", "oak", "fir"]', "[]"],
         ['["oak", "oak"]', '["oak", "ash", "oak"]']),
        ({"properties": {"words": WORDS, "more": {**WORDS}}}, False,
         '{"words": ["oak", "oak", "oak", ',
         ['{"words": ["oak", "elm"], "more": ["oak", "oak"]}'], ['{"words": ["oak", "oak"]}']),
        (TREE, True, '[{"name": "oak", "age": 5}, {"name": "oak", "age": 5}, {"name": "oa',
         ['[{"name": "oak", "age": 5}]', '[{"name": "oak", "age": 28}, {"name": "oak", "age": 5}]',
          '[{"name": "elm", "age": 5}, {"name": "oak", "age": 5, "tall": true}]',
          '[{"name": "oak", "age": 5}, {"name": "elm", "age": 5}, {"name": "elm", "age": 5}]'],
         ['[{"name": "oak", "age": 5}, {"name": "oak", "age": 5}]',
          '[{"name": "oak", "age": 5}, {"name": "elm", "age": 5}, {"name": "oak", "age": 5}]']),
        (TREE, True, '[{"name": "oak", "age": null}, {"name": "elm", "age": 5}, '
         '{"name": "oak", "age": null}, {"name": "elm", "age": 5}, ',
         ['[{"name": "oak", "age": null}, {"name": "elm", "age": 5}]',
          '[{"name": "elm", "age": null}, {"name": "oak", "age": null}]',
          '[{"name": "oak", "age": null}, {"name": "oak", "age": 5}]'],
         ['[{"name": "oak", "age": null}, {"name": "oak", "age": null}]']),
        ({"type": "array", "items": {"enum": ["x", 1, True]}}, False, '["x", 1, "x", 1, "x"',
         ['["x", 1, true, true]', "[1, true]"], ['["x", "x"]', "[1, 1]"]),
        ({"type": "array", "items": {"type": "number"}}, False, "[2.50, 5, 2.50, 5, 2.5",
         ["[2.50, 28, 5]"], ["[2.50, 2.50]", "[5, 28, 5]"]),
        ({"type": "array", "items": {"enum": ["x"]}}, False, '["x", "x", ', ['["x"]', "[]"],
         ['["x", "x"]']),
        ({"$ref": "#/$defs/t", "$defs": {"t": {"properties": {"w": WORDS, "in": {
          "anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}}}}}, False,
         '{"in": {"w": ["oak", "oak", ', ['{"w": ["oak"], "in": null}'], ['{"w": ["oak", "oak"]}']),
        ({"type": "object", "additionalProperties": {"type": "string"}}, False,
         '{"a": "oak", "b": "elm", "a": "oak"',
         ['{"a": "oak"}', '{"b": "elm", "c": "elm", "c": "elm"}', "{}"],
         ['{"a": "oak", "a": "oak"}', '{"a": "oak", "c": "elm", "a": "oak"}']),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_was_repeated_comes_once(
    schema: Schema, many: bool, cut: str, good: list[str], bad: list[str]
) -> None:
    bound = OutputSpec(schema, many=many, grounded=True).bind(TEXT)
    grammar = bound.grammar_after(cut)
    assert [value for value in [*good, *bad] if not admits(bound.grammar, value)] == []
    assert [value for value in good if not admits(grammar, value)] == []
    assert [value for value in bad if admits(grammar, value)] == []


def test_an_answer_without_repetition_changes_nothing() -> None:
    for grounded in (True, False):
        bound = OutputSpec(WORDS, grounded=grounded).bind(TEXT)
        assert bound.grammar_after('["oak", "elm", "o') == bound.grammar


HOSTILE = {
    "note: of": "two, three: [four], {five: six}",
    "list": ["a: b, c", 'x": "y', "a: b, c", "\\", 1.50, 1.50, None],
    "é, :": [{"k": "v, w: x"}, {"k": "v, w: x"}],
}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_answer_may_be_cut_anywhere(ascii_only: bool) -> None:
    """Commas and colons in a string do not separate values, closed or not."""
    merged = OutputSpec({"properties": {"list": {"type": "array"}}}, grounded=True).merged
    text = json.dumps(HOSTILE, ensure_ascii=ascii_only)
    for end in range(len(text)):
        found = repetitions(text[:end], merged, many=False)
        assert [written(each) for items in found.items.values() for each in items] in (
            [],
            ['"a: b, c"'],
            ['"a: b, c"', "1.5"],
        )
        assert found.keys == ()
    assert repetitions('{"a": 1, "a": ", b: {', merged, many=False).keys == ("a",)


def test_nothing_is_repeated_in_what_is_not_json() -> None:
    """An engine that cannot enforce a grammar goes on without it."""
    bound = OutputSpec(WORDS, grounded=True).bind(TEXT)
    for answer in ("{'a': 1, b: 2}", 'Sure: [oak, oak, oak], {"x" y: 1', "[" * 9000 + "1, 1, 1"):
        assert bound.grammar_after(answer) == bound.grammar


def test_many_optional_members_stay_small() -> None:
    names = [f"n{number}" for number in range(40)]
    item: dict[str, Any] = {"properties": {name: {"type": "string"} for name in names}}
    bound = OutputSpec(item, many=True, grounded=True).bind(TEXT)
    twice = json.dumps(dict.fromkeys(names, "oak"))
    grammar = bound.grammar_after(f"[{twice}, {twice}, ")
    assert admits(grammar, f'[{twice}, {{"n7": "oak"}}]')
    assert not admits(grammar, f"[{twice}, {twice}]")
