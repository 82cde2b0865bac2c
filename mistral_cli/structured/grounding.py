"""A schema and a text → a grammar whose strings and numbers can only come from the text.

What stands in `enum` or `const` is a choice, no extraction, and stays as it is. The grammar may
admit less than the schema (never a property that it does not name); where it admits more,
`ignored` says so and validation decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.grammar import ASSERTIONS, GUIDANCE, as_text, list_of
from mistral_cli.structured.schema import Schema, as_resource, bad_schema
from mistral_cli.structured.terminals import (
    EMPTY,
    NUMBER_KEYWORDS,
    STRING_KEYWORDS,
    Leaves,
)
from mistral_cli.structured.text_index import Source

_KEYWORDS: dict[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": STRING_KEYWORDS,
    "number": NUMBER_KEYWORDS,
    "integer": NUMBER_KEYWORDS,
    "boolean": set(),
    "null": set(),
}
_CHOICE = {"enum", "const"}
_REFUSED = {"allOf", "patternProperties", "prefixItems", "$dynamicRef", "$recursiveRef"}
_REFUSED |= {"dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems"}

_LONGEST_KEY = 64  # characters of a key that the schema does not name
_NOTHING = '""'


class _Impossible(Exception):
    """The text holds nothing that could stand at some place of the schema."""


class Grounding:
    """The grammar of `schema` over `source`, and which keywords it leaves out.

    Without a source it is that of some text which holds whatever is wanted, to judge the schema
    alone. Raises UsageError for a schema that cannot be grounded, OutputInvalid for a text that
    lacks what the schema insists on.
    """

    def __init__(self, schema: Schema, source: Source | None, *, many: bool) -> None:
        self.ignored: set[str] = set()
        self._judging = source is None
        self._dialect = {"$schema": schema["$schema"]} if "$schema" in schema else {}
        self._leaves = Leaves(source or Source(""), self._dialect)
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._referred: dict[tuple[int, bool], str] = {}
        resolver = as_resource(schema)[1]
        try:
            item = self._rule(self._value(schema, resolver))
            self._rules["start"] = list_of(item) if many else item
        except _Impossible as problem:
            if self._judging:
                raise bad_schema(str(problem)) from problem
            if not many:
                hint = "Allow null there in the schema, or use --no-grounded."
                raise OutputInvalid(str(problem), hint=hint) from problem
            self._rules["start"] = '"[]"'

    @property
    def grammar(self) -> str:
        """The grammar as text."""
        rules = {**self._leaves.terminals, **self._rules}
        return "%llguidance {}\n" + "".join(f"{name}: {rule}\n" for name, rule in rules.items())

    def _rule(self, expression: str) -> str:
        """The name of a rule for `expression`."""
        name = self._names.setdefault(expression, f"r{len(self._rules)}")
        self._rules[name] = expression
        return name

    def _value(self, schema: Any, resolver: Any, *, nullable: bool = False) -> str:
        """The expression of a value; `nullable` says that null is possible in its place."""
        if schema is False:
            raise _Impossible("the schema admits nothing")
        keywords = set() if schema is True else schema.keys() & ASSERTIONS
        if not keywords:
            return self._anything()
        if refused := sorted(keywords & _REFUSED):
            raise bad_schema(f"{refused[0]} cannot be grounded")
        if "$id" in schema:
            resolver = resolver.in_subresource(as_resource({**self._dialect, **schema})[0])
        if keywords & _CHOICE:
            self.ignored |= keywords - _CHOICE - {"type"}
            kept = {key: schema[key] for key in keywords & {*_CHOICE, "type"}}
            return "%json " + json.dumps({**kept, "x-guidance": GUIDANCE})
        for key in ("$ref", "anyOf", "oneOf"):
            if key in keywords:
                if others := sorted(keywords - {key}):
                    raise bad_schema(f"{key} beside {others[0]} cannot be grounded")
                if key == "$ref":
                    return self._reference(schema[key], resolver, nullable)
                return self._choice(key, schema[key], resolver, nullable)
        return self._typed(schema, resolver, nullable)

    def _choice(self, key: str, choices: list[Any], resolver: Any, nullable: bool) -> str:
        if key == "oneOf":
            self.ignored.add(key)
        nullable = nullable or any(map(_is_null, choices))
        values = (partial(self._value, each, resolver, nullable=nullable) for each in choices)
        return self._any_of(values)

    def _reference(self, reference: str, resolver: Any, nullable: bool) -> str:
        found = resolver.lookup(reference)
        key = (id(found.contents), nullable)
        if key not in self._referred:
            before = set(self._referred)
            name = self._referred[key] = f"ref{len(self._rules)}"
            self._rules[name] = '"null"'  # holds its place while it may refer to itself
            try:
                self._rules[name] = self._value(found.contents, found.resolver, nullable=nullable)
            except _Impossible:
                # Whatever was built on it in the meantime has come to nothing too.
                self._referred = {k: v for k, v in self._referred.items() if k in before}
                self._names.clear()
                raise
        return self._referred[key]

    def _typed(self, schema: Schema, resolver: Any, nullable: bool) -> str:
        types = _types(schema)
        known = set[str]().union(*(_KEYWORDS[kind] for kind in types))
        self.ignored |= (schema.keys() & ASSERTIONS) - known - {"type"}
        nullable = nullable or "null" in types
        makers: dict[str, Callable[[], str]] = {
            "string": lambda: self._string(schema, nullable),
            "number": lambda: self._number(schema),
            "integer": lambda: self._number({**schema, "type": "integer"}),
            "boolean": lambda: '"true" | "false"',
            "null": lambda: '"null"',
            "object": lambda: self._object(schema, resolver),
            "array": lambda: self._array(schema, resolver),
        }
        return self._any_of(makers[kind] for kind in types)

    def _any_of(self, makers: Iterable[Callable[[], str]]) -> str:
        possible, problems = list[str](), list[_Impossible]()
        for make in makers:
            try:
                possible.append(make())
            except _Impossible as problem:
                problems.append(problem)
        if not possible:
            raise problems[0]
        return f"({' | '.join(possible)})"

    def _anything(self) -> str:
        if "any" not in self._rules:
            self._rules["any"] = '"null"'  # holds its place: it refers to itself
            self._rules["any"] = self._typed({}, None, nullable=True)
        return "any"

    def _string(self, schema: Schema, nullable: bool) -> str:
        if "pattern" in schema:
            self.ignored.add("pattern, where very many pieces of the text have it")
        return self._possible(self._leaves.string(schema, nullable=nullable), "string")

    def _number(self, schema: Schema) -> str:
        return self._possible(self._leaves.number(schema), "number")

    def _possible(self, expression: str | None, kind: str) -> str:
        if expression or self._judging:
            return expression or EMPTY
        raise _Impossible(f"the text holds no {kind} that the schema admits")

    def _object(self, schema: Schema, resolver: Any) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        more = schema.get("additionalProperties", True)
        if not properties and not required:
            return self._map(more, resolver)
        members: list[tuple[str, bool]] = []
        for name in dict.fromkeys([*properties, *required]):
            try:
                value = self._rule(self._value(properties.get(name, more), resolver))
            except _Impossible as problem:
                if name in required:
                    raise _Impossible(f"{problem}, for {name!r}") from problem
                continue
            members.append((f"{as_text(as_text(name) + ': ')} {value}", name in required))
        return f'"{{" {self._members(members)} "}}"'

    def _members(self, members: list[tuple[str, bool]]) -> str:
        """Members in their order, with commas between those that are there."""
        first, later = "", ""  # what can follow, before and after the first member
        for member, required in reversed(members):
            if required:
                first, later = f"{member} {later}", f'", " {member} {later}'
            else:
                later = later and self._rule(later)
                first = f"{member} {later} | {(first and self._rule(first)) or _NOTHING}"
                later = f'(", " {member})? {later}'
        return self._rule(first or _NOTHING)

    def _map(self, values: Any, resolver: Any) -> str:
        """An object with keys that the schema does not name; those are the model's own."""
        try:
            value = self._rule(self._value(values, resolver))
        except _Impossible:
            return '"{}"'
        key = {"type": "string", "maxLength": _LONGEST_KEY, "x-guidance": GUIDANCE}
        member = f'{self._rule(f"%json {as_text(key)}")} ": " {value}'
        return f'("{{}}" | "{{" {member} (", " {member})* "}}")'

    def _array(self, schema: Schema, resolver: Any) -> str:
        items, least = schema.get("items", True), schema.get("minItems", 0)
        if isinstance(items, list):
            raise bad_schema("items as a list cannot be grounded")
        try:
            item = self._rule(self._value(items, resolver))
        except _Impossible:
            if least:
                raise
            return '"[]"'
        return list_of(item, least, schema.get("maxItems"))


def _types(schema: Schema) -> list[str]:
    """The types that `schema` names, else those that its keywords are about, else all."""
    named = schema.get("type")
    if named is not None:
        return list(named) if isinstance(named, list) else [named]
    kinds = [kind for kind in _KEYWORDS if kind != "integer"]
    return [kind for kind in kinds if not schema.keys().isdisjoint(_KEYWORDS[kind])] or kinds


def _is_null(schema: Any) -> bool:
    """Whether `schema` says in so many words that it is null, or may be."""
    if not isinstance(schema, dict):
        return False
    named = schema.get("type", [])
    choices = schema.get("enum", [schema.get("const", "")])
    return None in choices or "null" in (named if isinstance(named, list) else [named])
