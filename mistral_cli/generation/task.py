"""What a command asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mistral_cli.structured.schema import Schema
    from mistral_cli.texts.glossary import Glossary

Way = Literal["answer", "summary", "translation"]


@dataclass(frozen=True)
class Task:
    """What a command asks for. `values` are for the template; `schema` is the answer's.

    The schema of the template comes next, and `fallback_schema` last; `many` and `grounded`
    are those of `OutputSpec`, and with `jsonl` the items of a list are printed as they come.
    `way` is how long texts and their answers are dealt with. With `one_argument` the words
    on the command line are one text, not several.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema | None = None
    fallback_schema: Schema | None = None
    many: bool = False
    grounded: bool = False
    jsonl: bool = False
    way: Way = "answer"
    glossary: Glossary | None = None
    one_argument: bool = False
