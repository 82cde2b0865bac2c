"""A model that does not end its first string, and does not repeat itself; what closes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthetic.scripted import write_scripted

from mistral_cli.structured.schema import Schema, validation_problem

WORDS = (
    "the of and to in is that for on with as by at from it an be this which or are was but not have"
)
ENDLESS = (' "', *(f" {word}" for word in WORDS.split()))
SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "note": {"type": "string"},
        "age": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
LIMIT = 24
"""Tokens of an answer, some of which are kept for closing it."""

_TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def write_endless(path: Path, vocabulary: Path) -> Path:
    """Write a model that says the words, in whatever string the grammar demands."""
    return write_scripted(path, vocabulary, _TEMPLATE, ENDLESS)


def check_closed(value: Any) -> None:
    """Check the value of an answer that was closed in its first string."""
    assert validation_problem(value, SCHEMA) is None
    _, *words = value["name"].split()  # the first comes from the prompt's last token
    assert len(words) >= 3
    assert " ".join(words) in WORDS
