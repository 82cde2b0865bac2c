"""The grammar of another attempt: a list or an object does not repeat what it repeated before."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.grammar import as_text
from mistral_cli.structured.grounding.builder import (
    NOTHING,
    GrammarBuilder,
    Impossible,
    grounded_terminals,
    is_null,
    types_of,
)
from mistral_cli.structured.grounding.repetitions import Repetitions, repetitions, written
from mistral_cli.structured.grounding.terminals import admits_something, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mistral_cli.structured.grounding.merge import MergedSchema
    from mistral_cli.structured.grounding.terminals import ScalarTerminals
    from mistral_cli.structured.grounding.text_index import TextIndex
    from mistral_cli.structured.schema import Schema

_COMMA = ' ", " '


def ground_grammar_after(answer: str, merged: MergedSchema, index: TextIndex, *, many: bool) -> str:
    """Return the grammar of another attempt after `answer`, which was cut or invalid.

    It is that of `ground_grammar`, but a list has each item once at most that it has twice in
    `answer`, and an object each such key. No grammar can say that of all items and keys, but a
    model repeats what it has repeated.
    """
    repeated = repetitions(answer, merged, many=many)
    return _DistinctBuilder(grounded_terminals(merged, index), merged, repeated).complete(many=many)


class _DistinctBuilder(GrammarBuilder):
    """Makes a grammar in which what was `repeated` comes once at most."""

    def __init__(
        self, terminals: ScalarTerminals, merged: MergedSchema, repeated: Repetitions
    ) -> None:
        super().__init__(terminals, merged)
        self._repeated = repeated

    def _list(self, item: str) -> str:
        once = self._repeated.root
        return self._list_of_distinct(self._merged.root, once) if once else super()._list(item)

    def _array(self, schema: Schema) -> str:
        once = self._repeated.items.get(id(schema), [])
        if once and "prefixItems" not in schema:
            return self._list_of_distinct(schema["items"], once)
        return super()._array(schema)

    def _object(self, schema: Schema) -> str:
        named = dict(schema.get("properties", {}))
        for key in self._repeated.keys:
            if key not in named and (values := _of_key(schema, key)) is not False:
                named[key] = values
        once = named.keys() - schema.get("properties", {}).keys()
        return super()._object({**schema, "properties": named, "once": once} if once else schema)

    def _list_of_distinct(self, item: Any, once: list[Any]) -> str:
        """Return the expression of a list that has each value in `once` at most once.

        These come in their order, with others between.
        """
        try:
            others = self._rule(self._except(item, once))
        except Impossible:
            others = ""
        first, later = NOTHING, ""  # what can follow before any item, and after one
        for literal in [*(self._rule(_literal(each)) for each in reversed(once)), ""]:
            if others:
                later = self._rule(f'(", " {others})* {later}')
                first = self._rule(f"{others} {later} | {first}")
            if literal:
                first = self._rule(f"{literal} {later} | {first}")
                later = self._rule(f'(", " {literal})? {later}')
        return f'"[" {first} "]"'

    def _except(self, schema: Any, values: list[Any], *, nullable: bool = False) -> str:
        """Return the expression of a value that is none of `values`, as far as that is possible."""
        if not values or not isinstance(schema, dict) or not schema:
            return self._value(schema, nullable=nullable)
        if "$ref" in schema:
            return self._except(self._merged.definitions[schema["$ref"]], values, nullable=nullable)
        if "anyOf" in schema:
            nullable = nullable or any(map(is_null, schema["anyOf"]))
            return self._any_of(
                partial(self._except, each, values, nullable=nullable) for each in schema["anyOf"]
            )
        texts = {*map(written, values)}
        if "enum" in schema:
            return self._value({"enum": _not_in(schema["enum"], texts)} if texts else schema)
        nullable = nullable or "null" in schema.get("type", ())
        return self._any_of(
            partial(self._kind_except, {**schema, "type": [kind]}, values, texts, nullable)
            for kind in types_of(schema)
        )

    def _kind_except(
        self, schema: Schema, values: list[Any], texts: set[str], nullable: bool
    ) -> str:
        (kind,) = schema["type"]
        if kind == "object":
            return self._object_except(schema, [each for each in values if isinstance(each, dict)])
        expression = self._value(schema, nullable=nullable)
        if kind == "array":
            return expression
        excluded = [
            as_text(text) for text in sorted(texts) if text.startswith('"') == (kind == "string")
        ]
        if not excluded:
            return expression
        terminal = f"{expression} & ~({' | '.join(excluded)})"
        if not admits_something(terminal, **self._terminals.definitions):
            raise Impossible("the text contains nothing else that the schema admits")
        return self._terminals.terminal(terminal)

    def _object_except(self, schema: Schema, values: list[dict[str, Any]]) -> str:
        """Return the expression of an object with other members than each of `values`."""
        named, required = schema.get("properties", {}), schema.get("required", [])
        if not values or not named or self._free_member(schema):
            return self._value(schema)
        members = _Members((name, each, name in required) for name, each in named.items())
        return f'"{{" {self._members_except(members, 0, values, is_first=True)} "}}"'

    def _members_except(
        self, members: _Members, at: int, values: list[dict[str, Any]], *, is_first: bool
    ) -> str:
        """Return the rule of `members` from `at` on that differ somewhere from each of `values`."""
        key = (at, tuple(map(id, values)), is_first)
        if key not in members.rules:
            if at < len(members):
                makers = self._member_makers(members, at, values, is_first)
                members.rules[key] = self._rule(self._any_of(makers))
            elif values:
                raise Impossible("the object has been written before")
            else:
                members.rules[key] = NOTHING
        return members.rules[key]

    def _member_makers(
        self, members: _Members, at: int, values: list[dict[str, Any]], is_first: bool
    ) -> Iterator[Callable[[], str]]:
        """Yield what makes the alternatives: another value, one that was there, none."""
        name, schema, required = members[at]
        key = ("" if is_first else '", " ') + as_text(as_text(name) + ": ")
        same: dict[str, list[dict[str, Any]]] = {}
        for each in values:
            if name in each:
                same.setdefault(written(each[name]), []).append(each)

        def with_other_value() -> str:
            value = self._rule(self._except(schema, [those[0][name] for those in same.values()]))
            return f"{key} {value} {self._members_except(members, at + 1, [], is_first=False)}"

        def with_value(literal: str, those: list[dict[str, Any]]) -> str:
            rest = self._members_except(members, at + 1, those, is_first=False)
            return f"{key} {literal} {rest}"

        yield with_other_value
        for those in same.values():
            yield partial(with_value, _literal(those[0][name]), those)
        if not required:
            lacking = [each for each in values if name not in each]
            yield partial(self._members_except, members, at + 1, lacking, is_first=is_first)


class _Members(tuple[tuple[str, Any, bool], ...]):
    """The members of an object: name, schema, whether it is required; and the rest's rules."""

    def __init__(self, _: Iterable[tuple[str, Any, bool]]) -> None:
        self.rules: dict[tuple[int, tuple[int, ...], bool], str] = {}


def _literal(value: Any) -> str:
    """Return the expression of `value` as it was written.

    It has the terminals of any other value there: where one terminal begins like several others,
    llguidance decides for the longest before it knows how the text goes on.
    """
    if isinstance(value, dict):
        members = (f"{as_text(as_text(key) + ': ')} {_literal(v)}" for key, v in value.items())
        return f'"{{" {_COMMA.join(members)} "}}"' if value else '"{}"'
    if isinstance(value, list):
        return f'"[" {_COMMA.join(map(_literal, value))} "]"' if value else '"[]"'
    return as_text(written(value))


def _of_key(schema: Schema, key: str) -> Any:
    """Return what `schema` says of the values of `key`, which it does not name."""
    patterns = schema.get("patternProperties", {})
    matching = [values for pattern, values in patterns.items() if read(pattern).matches(key)]
    if matching:
        return matching[0] if all(each is matching[0] for each in matching) else False
    return False if schema.get("properties") else schema.get("additionalProperties", not patterns)


def _not_in(choices: list[Any], texts: set[str]) -> list[Any]:
    """Return those of `choices` that are not in `texts`. Raises Impossible if there are none."""
    remaining = [each for each in choices if as_text(each) not in texts]
    if not remaining:
        raise Impossible("the schema admits nothing else")
    return remaining
