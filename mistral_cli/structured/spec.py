"""The JSON output that a caller asks for: its grammar, and an answer parsed and validated."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from json import JSONDecodeError
from typing import Any

from mistral_cli.errors import OutputInvalid, UsageError
from mistral_cli.structured.brief import brief_schema
from mistral_cli.structured.completion import admits
from mistral_cli.structured.grammar import Compiled, check_grammar, compile_schema, limit_exceeded
from mistral_cli.structured.grounding.builder import compile_groundable, ground_grammar
from mistral_cli.structured.grounding.distinct import ground_grammar_after
from mistral_cli.structured.grounding.merge import MergedSchema, merge
from mistral_cli.structured.grounding.text_index import TextIndex
from mistral_cli.structured.schema import (
    Schema,
    check_schema,
    one_line,
    output_invalid,
    validation_problem,
)
from mistral_cli.structured.spans import ValueSpan, quote_from_text
from mistral_cli.system.strict_json import loads_exactly, repeated_keys

# Characters of a string with a pattern that ran away: an address or a version, or else a path.
_SHORT_LENGTHS = (64, 250)

_MAX_GROUNDED_LENGTH = 250_000  # characters; llguidance rejects the grammars of longer texts


@dataclass(frozen=True)
class OutputSpec:
    """An answer must be a value of `schema` or, with `many`, a list of them.

    With `grounded`, strings and numbers must come from the text, except those that the schema
    offers as choices.
    """

    schema: Schema
    many: bool = False
    grounded: bool = False
    once: tuple[str, ...] = ()
    """Keys that the schema does not name, and that no object may have twice."""

    @cached_property
    def grammar(self) -> str:
        """The grammar of the schema alone, without grounding."""
        return compile_schema(self.schema, many=self.many, once=self.once).text

    @property
    def json_schema(self) -> Schema:
        """The schema of a whole answer, which may be a list."""
        if not self.many:
            return self.schema
        schema: Schema = {"type": "array", "items": self.schema}
        for name in ("$defs", "definitions"):  # where `#/$defs/…` leads
            if name in self.schema:
                schema[name] = self.schema[name]
        return schema

    @cached_property
    def _compiled(self) -> Compiled:
        """The grammar as far as it is known without a text."""
        if self.grounded:
            return compile_groundable(self.merged, many=self.many)
        return compile_schema(self.schema, many=self.many, once=self.once)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The formats that nothing checks: JSON Schema lets unknown ones pass."""
        return self._compiled.unchecked

    @cached_property
    def merged(self) -> MergedSchema:
        """The schema in the form that grounding needs."""
        return merge(self.schema)

    def check(self) -> list[str]:
        """List the keywords that only validation enforces. Raises UsageError for a bad schema.

        This needs the schema alone and runs before a model is loaded, because an engine answers
        with free text if it cannot compile the grammar.
        """
        check_schema(self.schema)
        check_grammar(self._compiled.text)
        return [*self._compiled.unenforced]

    def bind(self, text: str) -> BoundSpec:
        """Return the specification of the answer about `text`."""
        return BoundSpec(self, text)


@dataclass(frozen=True)
class Extraction:
    """A valid value and, if it is grounded, the spans of the text that gave it."""

    data: Any
    spans: tuple[ValueSpan, ...] = ()


@dataclass(frozen=True)
class BoundSpec:
    """An output specification, bound to the `text` that the answer is about."""

    spec: OutputSpec
    text: str

    @cached_property
    def index(self) -> TextIndex:
        """The text's spans and numbers."""
        return TextIndex(self.text)

    @cached_property
    def grammar(self) -> str:
        """The grammar that constrains the sampler.

        Raises OutputInvalid if the text is too long to ground, or lacks a required value.
        """
        if not self.spec.grounded:
            return self.spec.grammar
        if len(self.text) > _MAX_GROUNDED_LENGTH:
            raise OutputInvalid(
                f"the text has {len(self.text)} characters,"
                f" too many to ground ({_MAX_GROUNDED_LENGTH} at most)",
                hint="Split the text, or use --no-grounded.",
            )
        return ground_grammar(self.spec.merged, self.index, many=self.spec.many)

    def grammar_after(self, answer: str, *, is_cut: bool = False) -> str:
        """Return the grammar of another attempt after `answer`, which was cut or invalid.

        What a list has twice there, or an object's key, it may have once. No grammar can say that
        of all items and keys, but a model repeats what it has repeated. If the answer was cut, the
        next one has fewer optional properties.
        """
        spec = self.spec
        if not spec.grounded:
            keys = repeated_keys(answer)
            with suppress(UsageError):
                schema = brief_schema(spec.schema, answer) if is_cut else spec.schema
                grammar = replace(spec, schema=schema, once=keys).grammar
                if not limit_exceeded(grammar):
                    return grammar
            return self.grammar
        grammar = ground_grammar_after(answer, spec.merged, self.index, many=spec.many)
        return self.grammar if limit_exceeded(grammar) else grammar

    def grammar_of_short_strings(self, beginning: str) -> str | None:
        """Return a grammar for the rest of an answer, where strings with a pattern stay short.

        A pattern or a format may not let a string end where it runs away: such a string must reach
        its end within a length. None if no answer with this `beginning` has such strings.
        """
        if self.spec.grounded:
            return None
        spec = self.spec
        for most in _SHORT_LENGTHS:
            with suppress(UsageError):
                grammar = compile_schema(spec.schema, many=spec.many, most=most).text
                if not limit_exceeded(grammar) and admits(grammar, beginning):
                    return grammar
        return None

    def check(self) -> None:
        """Raise OutputInvalid if no answer about the text is possible.

        This runs before a model is loaded: the text decides how large a grounded grammar is.
        """
        if self.spec.grounded and (problem := limit_exceeded(self.grammar)):
            raise OutputInvalid(
                f"the schema and the text are together too large to enforce: {problem}",
                hint="Split the text, simplify the schema, or use --no-grounded.",
            )

    def parse(self, answer: str) -> Extraction:
        """Parse and validate a complete answer. Raises OutputInvalid."""
        value = _load(answer)
        if not self.spec.many:
            return self._extract(value)
        if not isinstance(value, list):
            raise output_invalid("the answer is not a list")
        items = [self._extract(item, (index,)) for index, item in enumerate(value)]
        spans = tuple(span for item in items for span in item.spans)
        return Extraction([item.data for item in items], spans)

    def parse_item(self, item: str) -> Any:
        """Parse and validate one item of a list. Raises OutputInvalid."""
        return self._extract(_load(item)).data

    def _extract(self, value: Any, path: tuple[int, ...] = ()) -> Extraction:
        if problem := validation_problem(value, self.spec.schema):
            raise output_invalid(problem)
        if not self.spec.grounded:
            return Extraction(value)
        value, spans = quote_from_text(value, self.spec.merged, self.index, path)
        return Extraction(value, tuple(spans))


def _load(text: str) -> Any:
    try:
        return loads_exactly(text)
    except JSONDecodeError as error:  # which the grammar excludes
        message = f"the engine could not enforce the schema: the answer is not JSON: {error}"
        raise OutputInvalid(one_line(message), hint="Simplify the schema.") from error
    except (ValueError, RecursionError) as error:
        raise output_invalid(f"the answer is not JSON: {error}") from error
