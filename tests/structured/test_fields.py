"""Field lists: their meaning, the ones that are rejected, and the description in the prompt."""

from __future__ import annotations

from typing import Any

import pytest

from mistral_cli.errors import UsageError
from mistral_cli.structured.fields import describe_fields, schema_from_fields
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.spec import OutputSpec


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("name", {"name": {"type": "string"}}),
        (
            "name, age int, height float, alive bool, bio str",
            {
                "name": {"type": "string"},
                "age": {"type": "integer"},
                "height": {"type": "number"},
                "alive": {"type": "boolean"},
                "bio": {"type": "string"},
            },
        ),
        ("name,age  int,", {"name": {"type": "string"}, "age": {"type": "integer"}}),
        (" , name ,, ", {"name": {"type": "string"}}),
        (
            "url: such as https://x.org:80/, age int : in years",
            {
                "url": {"type": "string", "description": "such as https://x.org:80/"},
                "age": {"type": "integer", "description": "in years"},
            },
        ),
        (
            "\nname: first, then last\r\nage int: years, not months,\n\n",
            {
                "name": {"type": "string", "description": "first, then last"},
                "age": {"type": "integer", "description": "years, not months"},
            },
        ),
        ("name,\nage int,\n", {"name": {"type": "string"}, "age": {"type": "integer"}}),
        ("名前: その人, été float", {
            "名前": {"type": "string", "description": "その人"},
            "été": {"type": "number"},
        }),
        ("int", {"int": {"type": "string"}}),
        ("name:", {"name": {"type": "string"}}),
    ],
)  # fmt: skip
def test_field_lists(fields: str, expected: dict[str, Any]) -> None:
    schema = schema_from_fields(fields)
    assert schema == {
        "type": "object",
        "properties": expected,
        "required": list(expected),
        "additionalProperties": False,
    }
    assert OutputSpec(schema).check() == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("", "empty"),
        (" ,\n, ", "empty"),
        ("name, name int", "'name' is listed twice"),
        ("age integer", "'age integer'"),
        ("age Int", "'age Int'"),
        ("two words here", "'two words here'"),
        (": only a description", "': only a description'"),
        ("a,b\nc", "'a,b'"),
    ],
)
def test_bad_field_lists(fields: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        schema_from_fields(fields)
    assert "int, float, bool" in caught.value.hint


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            schema_from_fields("name, age int: in years"),
            "- name (string)\n- age (integer): in years",
        ),
        ({"properties": {"a": {"type": ["string", "null"]}}}, "- a (string or null)"),
        ({"properties": {"a": True, "b": {}, "c": {"$ref": "#"}}}, "- a\n- b\n- c"),
        ({"properties": [1]}, ""),
        ({}, ""),
    ],
)
def test_fields_are_described_for_the_prompt(schema: Schema, expected: str) -> None:
    assert describe_fields(schema) == expected
