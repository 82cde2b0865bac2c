"""What a schema says in several places, merged: the same values are valid."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_cli.errors import UsageError
from mistral_cli.structured.grounding.merge import MergedSchema, _Merger, merge
from mistral_cli.structured.schema import Schema, check_schema, validator


def written_out(merged: MergedSchema) -> Schema:
    """The normal form as an ordinary schema."""

    def plain(schema: Any) -> Any:
        if isinstance(schema, list):
            return [plain(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return {"$ref": f"#/$defs/{schema['$ref']}"}
        result = {key: each if key == "enum" else plain(each) for key, each in schema.items()}
        for key in ("properties", "patternProperties"):
            if key in schema:
                result[key] = {name: plain(each) for name, each in schema[key].items()}
        result.pop("format", None)
        if patterns := result.pop("pattern", None):
            result["allOf"] = [{"pattern": each} for each in patterns]
        return result

    definitions = {name: plain(each) for name, each in merged.definitions.items()}
    return {"allOf": [plain(merged.root)], "$defs": definitions}


NAMES = ["a", "b", "ab"]
SCALARS = st.sampled_from(
    [
        True,
        False,
        {},
        {"type": "string"},
        {"type": ["string", "null"], "maxLength": 1},
        {"minLength": 2},
        {"pattern": "^a"},
        {"pattern": "b$"},
        {"type": "integer", "minimum": 1},
        {"type": "number", "exclusiveMaximum": 2},
        {"multipleOf": 2},
        {"enum": ["a", 1, None, {"a": 1}]},
        {"const": {"a": 1}},
        {"$ref": "#/$defs/tree"},
        {"$ref": "#/$defs/named", "maxProperties": 1},
    ]
)


def choices(inner: Any) -> Any:
    return st.lists(inner, min_size=1, max_size=3)


PARTS = st.recursive(
    SCALARS,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", ["object", "string"]]),
            "properties": st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
            "required": st.lists(st.sampled_from(NAMES), unique=True, max_size=2),
            "additionalProperties": inner,
            "prefixItems": choices(inner),
            "items": inner,
            "minItems": st.integers(0, 2),
            "allOf": choices(inner),
            "anyOf": choices(inner),
        },
    ),
    max_leaves=8,
)
DEFINITIONS = {
    "named": {"properties": {"a": {"type": "string"}}, "required": ["a"]},
    "tree": {
        "allOf": [{"$ref": "#/$defs/named"}],
        "properties": {"b": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
    },
}
VALUES = st.recursive(
    st.sampled_from(["a", "b", "ab", "", 0, 1, 2, 1.5, None, True]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=200)
@given(part=PARTS, values=st.lists(VALUES, min_size=8, max_size=8))
def test_the_same_values_are_valid(part: Any, values: list[Any]) -> None:
    schema = {"allOf": [part], "$defs": DEFINITIONS}
    merged = merge(schema)
    if merged.unenforced - {each for each in merged.unenforced if "left out" in each}:
        return
    original, result = validator(schema), validator(written_out(merged))
    for value in values:
        assert original.is_valid(value) == result.is_valid(value), (value, written_out(merged))


@pytest.mark.parametrize(
    ("dialect", "valid"), [("draft-07/schema#", True), ("draft-04/schema", True), (None, False)]
)
def test_drafts_before_2019_ignore_what_stands_beside_a_reference(
    dialect: str | None, valid: bool
) -> None:
    schema: Schema = {
        "properties": {"a": {"$ref": "#/definitions/a", "maxLength": 1}},
        "definitions": {"a": {"type": "string"}},
    }
    if dialect:
        schema["$schema"] = f"http://json-schema.org/{dialect}"
    assert validator(schema).is_valid({"a": "ab"}) is valid
    assert validator(written_out(merge(schema))).is_valid({"a": "ab"}) is valid


def test_choices_beyond_the_limit_are_left_to_validation() -> None:
    names = [f"n{number}" for number in range(9)]
    either = {"anyOf": [{"required": [name]} for name in names]}
    schema = {"type": "object", "allOf": [either] * 1 + [{**either, "title": "2"}]}
    assert merge(schema).unenforced == {"anyOf"}


def test_a_reference_into_a_schema_with_its_own_name() -> None:
    schema: Schema = {
        "$id": "http://x.org/a",
        "$defs": {"s": {"type": "string"}},
        "allOf": [{"$id": "b", "$ref": "#/$defs/s", "$defs": {"s": {"enum": ["x", 1]}}}],
    }
    assert merge(schema).root == {"enum": ["x", 1]}


def test_a_choice_of_itself_adds_nothing() -> None:
    schema: Schema = {
        "type": ["string", "integer"],
        "$ref": "#/$defs/a",
        "$defs": {"a": {"title": "a", "anyOf": [{"$ref": "#/$defs/a"}, {"minLength": 2}]}},
    }
    assert merge(schema).root == {"type": ["string", "integer"], "minLength": 2}


def test_a_schema_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_cli.structured.grounding.merge._MAX_PLACES", 20)
    properties = {f"p{number}": {"properties": {"a": {}}} for number in range(50)}
    with pytest.raises(UsageError, match="more than 20 ways"):
        merge({"properties": properties})


def test_multiples_of_two_numbers_are_multiples_of_both() -> None:
    merged = merge({"type": "number", "multipleOf": 0.4, "allOf": [{"multipleOf": 0.6}]})
    assert merged.root == {"type": ["number"], "multipleOf": 1.2}
    check_schema(written_out(merged))


def test_a_choice_is_compared_with_those_of_other_parts_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Comparing each of 10,000 choices with all of them takes 9 s."""
    compared: list[Any] = []
    accepts = _Merger._accepts

    def spy(self: _Merger, parts: Any, value: Any) -> bool:
        compared.extend(part.contents for part in parts)
        return accepts(self, parts, value)

    monkeypatch.setattr(_Merger, "_accepts", spy)
    assert merge({"enum": ["a", "bb", 1], "minLength": 2}).root == {"enum": ["bb", 1]}
    assert compared == 3 * [{"minLength": 2}]
    assert merge({"enum": ["a", 1, True], "const": True}).root == {"enum": [True]}
    both = {"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4, 5]}]}
    assert merge(both).root == {"enum": [2, 3]}
    assert merge({**both, "const": 4}).root is False
