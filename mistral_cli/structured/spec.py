"""What an answer must be: the grammar to sample it by, and its text read and held to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.grammar import check_grammar, json_grammar
from mistral_cli.structured.grounding import Grounding
from mistral_cli.structured.schema import Schema, check_schema, invalid, output_invalid
from mistral_cli.structured.spans import Span, ground
from mistral_cli.structured.text_index import Source
from mistral_cli.system.strict_json import loads

_LONGEST_GROUNDED = 250_000  # llguidance refuses the grammars of longer texts


@dataclass(frozen=True)
class OutputSpec:
    """A value of `schema`, or with `many` a list of them.

    With `grounded` its strings and numbers are taken from the text, but for those that the
    schema gives to choose from.
    """

    schema: Schema
    many: bool = False
    grounded: bool = False

    def check(self) -> list[str]:
        """Refuse what cannot be held; return what only validation will enforce.

        Decided from the schema alone, before any model is loaded: an engine given a grammar
        that it cannot compile answers with free text. Raises UsageError.
        """
        check_schema(self.schema)
        notes = check_grammar(json_grammar(self.schema, many=self.many), self.schema)
        if not self.grounded:
            return notes
        grounding = Grounding(self.schema, None, many=self.many)
        check_grammar(grounding.grammar, self.schema)
        return sorted(grounding.ignored)

    def of(self, text: str) -> BoundSpec:
        """The answer about `text`."""
        return BoundSpec(self, text)


@dataclass(frozen=True)
class Extraction:
    """A value that holds, and with grounding where its parts stand in the text."""

    data: Any
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class BoundSpec:
    """The answer of a `shape` that is about one `text`."""

    shape: OutputSpec
    text: str

    @cached_property
    def _source(self) -> Source:
        return Source(self.text)

    @cached_property
    def grammar(self) -> str:
        """The grammar to sample by. Raises OutputInvalid where no answer is possible."""
        shape = self.shape
        if shape.grounded and len(self.text) > _LONGEST_GROUNDED:
            what = (
                f"{len(self.text)} characters are too many to ground ({_LONGEST_GROUNDED} at most)"
            )
            raise OutputInvalid(what, hint="Split the text, or use --no-grounded.")
        if shape.grounded:
            return Grounding(shape.schema, self._source, many=shape.many).grammar
        return json_grammar(shape.schema, many=shape.many)

    def read(self, answer: str) -> Extraction:
        """The value in a whole `answer`. Raises OutputInvalid."""
        value = _load(answer)
        if not self.shape.many:
            return self._hold(value)
        if not isinstance(value, list):
            raise output_invalid("the answer is no list")
        items = [self._hold(item, (index,)) for index, item in enumerate(value)]
        spans = tuple(span for item in items for span in item.spans)
        return Extraction([item.data for item in items], spans)

    def read_item(self, item: str) -> Any:
        """The value of one item of a list. Raises OutputInvalid."""
        return self._hold(_load(item)).data

    def _hold(self, value: Any, path: tuple[int, ...] = ()) -> Extraction:
        if wrong := invalid(value, self.shape.schema):
            raise output_invalid(wrong)
        if not self.shape.grounded:
            return Extraction(value)
        value, spans = ground(value, self.shape.schema, self._source, path)
        return Extraction(value, tuple(spans))


def _load(text: str) -> Any:
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        raise output_invalid(f"the answer is no JSON: {error}") from error
