"""A schema and a text → a grammar whose strings and numbers can only come from the text.

The values of `enum` and `const` are choices, not extractions, and need not be in the text. The
grammar may admit less than the schema (never a property that the schema does not name). Where it
admits more, `check_groundable` lists the keywords, and validation enforces them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.enforceable import ASSERTIONS
from mistral_cli.structured.grammar import GUIDANCE, as_text, check_grammar, list_of
from mistral_cli.structured.schema import Schema, as_resource, bad_schema
from mistral_cli.structured.terminals import (
    NUMBER_KEYWORDS,
    STRING_KEYWORDS,
    GroundedTerminals,
    PlaceholderTerminals,
    ScalarTerminals,
)

if TYPE_CHECKING:
    from mistral_cli.structured.text_index import TextIndex

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
_UNSUPPORTED = {"allOf", "patternProperties", "prefixItems", "$dynamicRef", "$recursiveRef"}
_UNSUPPORTED |= {"dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems"}

_MAX_KEY_LENGTH = 64  # characters of a key that the schema does not name
_NOTHING = '""'


def check_groundable(schema: Schema, *, many: bool) -> list[str]:
    """List the keywords that a grounded grammar of `schema` leaves to validation.

    Needs no text. Raises UsageError for a schema that cannot be grounded.
    """
    builder = _GrammarBuilder(PlaceholderTerminals(), _dialect(schema))
    try:
        item = builder.item(schema)
    except _Impossible as problem:
        raise bad_schema(str(problem)) from problem
    check_grammar(builder.grammar(list_of(item) if many else item))
    return sorted(builder.unenforced)


def ground_grammar(schema: Schema, index: TextIndex, *, many: bool) -> str:
    """Return the grammar of a value of `schema` or, with `many`, of a list of them.

    Its strings and numbers come from the text of `index`. Raises UsageError for a schema that
    cannot be grounded, OutputInvalid for a text that lacks a value which the schema requires.
    """
    dialect = _dialect(schema)
    builder = _GrammarBuilder(GroundedTerminals(index, dialect), dialect)
    try:
        item = builder.item(schema)
    except _Impossible as problem:
        if many:
            return builder.grammar('"[]"')
        hint = "Allow null there in the schema, or use --no-grounded."
        raise OutputInvalid(str(problem), hint=hint) from problem
    return builder.grammar(list_of(item) if many else item)


def _dialect(schema: Schema) -> Schema:
    return {"$schema": schema["$schema"]} if "$schema" in schema else {}


class _Impossible(Exception):
    """The text contains no value that a part of the schema admits."""


class _GrammarBuilder:
    """Collects the rules of a grammar, and the keywords that they do not enforce."""

    def __init__(self, terminals: ScalarTerminals, dialect: Schema) -> None:
        self.unenforced: set[str] = set()
        self._dialect = dialect
        self._terminals = terminals
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._references: dict[tuple[int, bool], str] = {}

    def item(self, schema: Schema) -> str:
        """Add the rules of `schema` and return the name of the first."""
        return self._rule(self._value(schema, as_resource(schema)[1]))

    def grammar(self, start: str) -> str:
        """Write the grammar of the expression `start`."""
        rules = {**self._terminals.terminals, **self._rules, "start": start}
        return "%llguidance {}\n" + "".join(f"{name}: {rule}\n" for name, rule in rules.items())

    def _rule(self, expression: str) -> str:
        """Return the name of a rule for `expression`."""
        name = self._names.setdefault(expression, f"r{len(self._rules)}")
        self._rules[name] = expression
        return name

    def _value(self, schema: Any, resolver: Any, *, nullable: bool = False) -> str:
        """Return the expression of a value; `nullable`: whether null may take its place."""
        if schema is False:
            raise _Impossible("the schema admits nothing")
        keywords = set() if schema is True else schema.keys() & ASSERTIONS
        if not keywords:
            return self._anything()
        if unsupported := sorted(keywords & _UNSUPPORTED):
            raise bad_schema(f"{unsupported[0]} cannot be grounded")
        if "$id" in schema:
            resolver = resolver.in_subresource(as_resource({**self._dialect, **schema})[0])
        if keywords & _CHOICE:
            self.unenforced |= keywords - _CHOICE - {"type"}
            enforced = {key: schema[key] for key in keywords & {*_CHOICE, "type"}}
            return "%json " + json.dumps({**enforced, "x-guidance": GUIDANCE})
        for key in ("$ref", "anyOf", "oneOf"):
            if key in keywords:
                if others := sorted(keywords - {key}):
                    raise bad_schema(f"{key} together with {others[0]} cannot be grounded")
                if key == "$ref":
                    return self._reference(schema[key], resolver, nullable)
                return self._choice(key, schema[key], resolver, nullable)
        return self._typed(schema, resolver, nullable)

    def _choice(self, key: str, choices: list[Any], resolver: Any, nullable: bool) -> str:
        if key == "oneOf":
            self.unenforced.add(key)
        nullable = nullable or any(map(_is_null, choices))
        values = (partial(self._value, each, resolver, nullable=nullable) for each in choices)
        return self._any_of(values)

    def _reference(self, reference: str, resolver: Any, nullable: bool) -> str:
        target = resolver.lookup(reference)
        key = (id(target.contents), nullable)
        if key not in self._references:
            before = set(self._references)
            name = self._references[key] = f"ref{len(self._rules)}"
            self._rules[name] = '"null"'  # a placeholder, since the schema may refer to itself
            try:
                self._rules[name] = self._value(target.contents, target.resolver, nullable=nullable)
            except _Impossible:
                # The rules made in the meantime may use the placeholder: forget them all.
                self._references = {k: v for k, v in self._references.items() if k in before}
                self._names.clear()
                raise
        return self._references[key]

    def _typed(self, schema: Schema, resolver: Any, nullable: bool) -> str:
        types = _types(schema)
        known = set[str]().union(*(_KEYWORDS[kind] for kind in types))
        self.unenforced |= (schema.keys() & ASSERTIONS) - known - {"type"}
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
            self._rules["any"] = '"null"'  # a placeholder: the rule refers to itself
            self._rules["any"] = self._typed({}, None, nullable=True)
        return "any"

    def _string(self, schema: Schema, nullable: bool) -> str:
        if "pattern" in schema:
            self.unenforced.add("pattern, where very many parts of the text match")
        return _required(self._terminals.string(schema, nullable=nullable), "string")

    def _number(self, schema: Schema) -> str:
        return _required(self._terminals.number(schema), "number")

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
        """Return the rule of members in their order, with commas between those that are present."""
        first, later = "", ""  # what can follow before any member, and after one
        for member, required in reversed(members):
            if required:
                first, later = f"{member} {later}", f'", " {member} {later}'
            else:
                later = later and self._rule(later)
                first = f"{member} {later} | {(first and self._rule(first)) or _NOTHING}"
                later = f'(", " {member})? {later}'
        return self._rule(first or _NOTHING)

    def _map(self, values: Any, resolver: Any) -> str:
        """Return the expression of an object whose keys the model may invent."""
        try:
            value = self._rule(self._value(values, resolver))
        except _Impossible:
            return '"{}"'
        key = {"type": "string", "maxLength": _MAX_KEY_LENGTH, "x-guidance": GUIDANCE}
        member = f'{self._rule(f"%json {as_text(key)}")} ": " {value}'
        return f'("{{}}" | "{{" {member} (", " {member})* "}}")'

    def _array(self, schema: Schema, resolver: Any) -> str:
        items, min_items = schema.get("items", True), schema.get("minItems", 0)
        if isinstance(items, list):
            raise bad_schema("items as a list cannot be grounded")
        try:
            item = self._rule(self._value(items, resolver))
        except _Impossible:
            if min_items:
                raise
            return '"[]"'
        return list_of(item, min_items, schema.get("maxItems"))


def _required(expression: str | None, kind: str) -> str:
    if not expression:
        raise _Impossible(f"the text contains no {kind} that the schema admits")
    return expression


def _types(schema: Schema) -> list[str]:
    """List the types that `schema` names, else those that its keywords apply to, else all."""
    named = schema.get("type")
    if named is not None:
        return list(named) if isinstance(named, list) else [named]
    kinds = [kind for kind in _KEYWORDS if kind != "integer"]
    return [kind for kind in kinds if not schema.keys().isdisjoint(_KEYWORDS[kind])] or kinds


def _is_null(schema: Any) -> bool:
    """Whether `schema` itself says that null is allowed; it does not look into subschemas."""
    if not isinstance(schema, dict):
        return False
    named = schema.get("type", [])
    choices = schema.get("enum", [schema.get("const", "")])
    return None in choices or "null" in (named if isinstance(named, list) else [named])
