"""A JSON list while the model writes it: each item once, as soon as it is complete."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import VALUES

from mistral_cli.structured.item_stream import ItemReader


@given(items=st.lists(VALUES, max_size=5), data=st.data())
def test_a_list_in_deltas_of_any_size(items: list[Any], data: st.DataObject) -> None:
    text = json.dumps(items)
    reader, items_read = ItemReader(), []
    while text:
        size = data.draw(st.integers(1, len(text)))
        items_read += [json.loads(item) for item in reader.feed(text[:size])]
        text = text[size:]
    assert items_read == items


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ('[{"a": 1}', ['{"a": 1}']),
        ('[{"a": 1}, {"a": 2', ['{"a": 1}']),
        ("[12", []),
        ("[12,", ["12"]),
        ("[1.5, 2e3, -4]", ["1.5", "2e3", "-4"]),
        ("[true, null", ["true"]),
        ('["a]", [1, [2]], {}]', ['"a]"', "[1, [2]]", "{}"]),
        ("", []),
        ("  [", []),
        ('{"a": [1]}', []),
    ],
)
def test_only_complete_items(text: str, complete: list[str]) -> None:
    reader = ItemReader()
    items_read = [item for character in text for item in reader.feed(character)]
    assert [json.loads(item) for item in items_read] == [json.loads(item) for item in complete]
