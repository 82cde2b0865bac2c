"""A schema and a text → a grammar whose strings and numbers can only come from the text.

The values of `enum` and `const` are choices, not extractions, and need not be in the text. The
grammar may admit less than the schema (never a property that the schema does not name). Where it
admits more, `compile_groundable` lists the keywords, and validation enforces them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.grammar import GUIDANCE, Compiled, as_text, list_of
from mistral_cli.structured.grounding.keys import free_keys
from mistral_cli.structured.grounding.merge import MergedSchema, left_out
from mistral_cli.structured.grounding.terminals import (
    FORMATS,
    NUMBER_KEYWORDS,
    STRING_KEYWORDS,
    GroundedTerminals,
    PlaceholderTerminals,
    ScalarTerminals,
    read,
)
from mistral_cli.structured.schema import Schema, bad_schema, validator

if TYPE_CHECKING:
    from mistral_cli.structured.grounding.text_index import TextIndex

_KEYWORDS: dict[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties", "patternProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": STRING_KEYWORDS,
    "number": NUMBER_KEYWORDS,
    "integer": NUMBER_KEYWORDS,
    "boolean": set(),
    "null": set(),
}
_KEYWORDS["object"] |= {"propertyNames", "minProperties", "maxProperties"}

NOTHING = '""'


def compile_groundable(merged: MergedSchema, *, many: bool) -> Compiled:
    """Return a grammar of `merged` in which strings and numbers are placeholders.

    Needs no text. Raises UsageError for a schema that cannot be grounded.
    """
    builder = GrammarBuilder(PlaceholderTerminals(), merged)
    try:
        item = builder.item()
    except Impossible as problem:
        raise bad_schema(str(problem)) from problem
    checked = validator(merged.source).format_checker.checkers
    unenforced = builder.unenforced | {f"the format {n}" for n in builder.formats if n in checked}
    return Compiled(
        builder.grammar(list_of(item) if many else item),
        tuple(sorted(unenforced)),
        tuple(sorted(builder.formats - checked.keys())),
    )


def ground_grammar(merged: MergedSchema, index: TextIndex, *, many: bool) -> str:
    """Return the grammar of a value of `merged` or, with `many`, of a list of them.

    Its strings and numbers come from the text of `index`. Raises UsageError for a schema that
    cannot be grounded, OutputInvalid for a text that lacks a value which the schema requires.
    """
    return GrammarBuilder(grounded_terminals(merged, index), merged).complete(many=many)


def grounded_terminals(merged: MergedSchema, index: TextIndex) -> GroundedTerminals:
    """Return the terminals of a text for `merged`."""
    source = merged.source
    return GroundedTerminals(index, {k: source[k] for k in source.keys() & {"$schema"}})


class Impossible(Exception):
    """The text contains no value that a part of the schema admits."""


class GrammarBuilder:
    """Collects the rules of a grammar, and the keywords and formats that they do not enforce."""

    def __init__(self, terminals: ScalarTerminals, merged: MergedSchema) -> None:
        self.unenforced = {*merged.unenforced}
        self.formats: set[str] = set()
        self._merged = merged
        self._terminals = terminals
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._values: dict[tuple[int | str, bool], str] = {}
        self._kept: list[Any] = []  # an identity belongs to one object as long as that lives
        self._impossible: dict[tuple[int | str, bool], Impossible] = {}

    def complete(self, *, many: bool) -> str:
        """Return the grammar of a value or, with `many`, of a list of them.

        Raises OutputInvalid if the text lacks a value that the schema requires.
        """
        try:
            item = self.item()
        except Impossible as problem:
            if many:
                return self.grammar('"[]"')
            hint = "Allow null there in the schema, or use --no-grounded."
            raise OutputInvalid(str(problem), hint=hint) from problem
        return self.grammar(self._list(item) if many else item)

    def _list(self, item: str) -> str:
        """Return the expression of a list of values of the whole schema."""
        return list_of(item)

    def item(self) -> str:
        """Add the rules of the schema and return the name of the first."""
        return self._rule(self._value(self._merged.root))

    def grammar(self, start: str) -> str:
        """Write the grammar of the expression `start`."""
        rules = {**self._terminals.definitions, **self._rules, "start": start}
        return "%llguidance {}\n" + "".join(f"{name}: {rule}\n" for name, rule in rules.items())

    def _rule(self, expression: str) -> str:
        """Return the name of a rule for `expression`."""
        name = self._names.setdefault(expression, f"r{len(self._rules)}")
        self._rules[name] = expression
        return name

    def _value(self, schema: Any, *, nullable: bool = False) -> str:
        """Return the expression of a value; `nullable`: whether null may take its place."""
        if schema is False:
            raise Impossible("the schema admits nothing")
        if schema is True or not schema:
            return self._anything()
        key = (id(schema), nullable)
        self._kept.append(schema)
        if key in self._impossible:
            raise self._impossible[key]
        if key not in self._values:
            try:
                self._values[key] = self._expression(schema, nullable)
            except Impossible as problem:
                self._impossible[key] = problem
                raise
        return self._values[key]

    def _expression(self, schema: Schema, nullable: bool) -> str:
        if "$ref" in schema:
            return self._reference(schema["$ref"], nullable)
        if "anyOf" in schema:
            choices = schema["anyOf"]
            nullable = nullable or any(map(is_null, choices))
            return self._any_of(partial(self._value, each, nullable=nullable) for each in choices)
        if "enum" in schema:
            return "%json " + json.dumps({"enum": schema["enum"], "x-guidance": GUIDANCE})
        return self._typed(schema, nullable)

    def _reference(self, name: str, nullable: bool) -> str:
        key = (name, nullable)
        if key not in self._values:
            before = {*self._values}
            rule = self._values[key] = f"ref{len(self._rules)}"
            self._rules[rule] = '"null"'  # a placeholder, since the schema refers to itself
            try:
                definition = self._merged.definitions[name]
                self._rules[rule] = self._value(definition, nullable=nullable)
            except Impossible:
                # The rules made in the meantime may use the placeholder: forget them all.
                self._values = {k: v for k, v in self._values.items() if k in before}
                self._names.clear()
                raise
        return self._values[key]

    def _typed(self, schema: Schema, nullable: bool) -> str:
        types = types_of(schema)
        nullable = nullable or "null" in types
        makers: dict[str, Callable[[], str]] = {
            "string": lambda: self._string(schema, nullable),
            "number": lambda: self._number(schema),
            "integer": lambda: self._number({**schema, "type": "integer"}),
            "boolean": lambda: '"true" | "false"',
            "null": lambda: '"null"',
            "object": lambda: self._object(schema),
            "array": lambda: self._array(schema),
        }
        return self._any_of(makers[kind] for kind in types)

    def _any_of(self, makers: Iterable[Callable[[], str]]) -> str:
        possible, problems = list[str](), list[Impossible]()
        for make in makers:
            try:
                possible.append(make())
            except Impossible as problem:
                problems.append(problem)
        if not possible:
            raise problems[0]
        return f"({' | '.join(possible)})"

    def _anything(self) -> str:
        if "any" not in self._rules:
            self._rules["any"] = '"null"'  # a placeholder: the rule refers to itself
            self._rules["any"] = self._typed({}, nullable=True)
        return "any"

    def _string(self, schema: Schema, nullable: bool) -> str:
        for pattern in schema.get("pattern", ()):
            if not read(pattern).exact:
                self.unenforced.add(f"the pattern {pattern}, if very many parts of the text match")
        self.formats |= {*schema.get("format", ())} - FORMATS.keys()
        return _required(self._terminals.string(schema, nullable=nullable), "string")

    def _number(self, schema: Schema) -> str:
        return _required(self._terminals.number(schema), "number")

    def _object(self, schema: Schema) -> str:
        named, required = schema.get("properties", {}), schema.get("required", [])
        members: list[tuple[str, bool]] = []
        for name, values in named.items():
            try:
                value = self._rule(self._value(values))
            except Impossible as problem:
                if name in required:
                    raise Impossible(f"{problem}, for {name!r}") from problem
                if values is not False:
                    self.unenforced.add(left_out(name))
                continue
            members.append((f"{as_text(as_text(name) + ': ')} {value}", name in required))
        free = self._free_member(schema)
        sizes = int(schema.get("minProperties", 0)), schema.get("maxProperties")
        if sizes[0] and not members and not free:
            raise Impossible("no property can have a value")
        if not named and free:
            return list_of(free, *sizes, brackets="{}")
        self.unenforced |= schema.keys() & {"maxProperties"}
        if sizes[0] > max(1, sum(required for _, required in members)):
            self.unenforced.add("minProperties")
        return f'"{{" {self._members(members, free, may_be_empty=not sizes[0])} "}}"'

    def _free_member(self, schema: Schema) -> str:
        """Return the rule of a member whose key the model may choose; "" if there is none."""
        members = []
        for key in free_keys(schema, self.unenforced):
            try:
                value = self._rule(self._value(key.values))
            except Impossible:
                continue
            members.append(f'{self._terminals.terminal(key.terminal)} ": " {value}')
        return self._rule(" | ".join(members)) if members else ""

    def _members(self, members: list[tuple[str, bool]], free: str, *, may_be_empty: bool) -> str:
        """Return the rule of members in their order, with commas between those that are present.

        Any number of members `free` may follow.
        """
        first, later = "", ""  # what can follow before any member, and after one
        if free:
            later = f'(", " {free})*'
            first = f"{free} {later}" + (f" | {NOTHING}" if may_be_empty else "")
        for member, required in reversed(members):
            if required:
                first, later = f"{member} {later}", f'", " {member} {later}'
            else:
                later = later and self._rule(later)
                others = self._rule(first) if first else NOTHING
                first = f"{member} {later}" + (f" | {others}" if first or may_be_empty else "")
                later = f'(", " {member})? {later}'
        return self._rule(first or NOTHING)

    def _array(self, schema: Schema) -> str:
        """Return the expression of an array: items whose schema depends on the place, others."""
        least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
        placed, problem = list[str](), None
        for item in [*schema.get("prefixItems", ()), schema.get("items", True)]:
            try:
                placed.append(self._rule(self._value(item)))
            except Impossible as impossible:
                problem = impossible
                break
        *placed, others = placed if not problem else [*placed, ""]
        if problem and least > len(placed):
            raise problem
        if not placed:
            return list_of(others, least, most) if others else '"[]"'
        expression = ""
        if others:
            upper = "" if most is None else max(int(most) - len(placed), 0)
            expression = f'(", " {others}){{{max(least - len(placed), 0)},{upper}}}'
        for index, item in reversed([*enumerate(placed)][:most]):
            separator = '", "' if index else ""
            expression = f"{separator} {item} {expression}"
            if index >= least:
                expression = f"({self._rule(expression)})?"
        return f'"[" {expression} "]"'


def _required(expression: str | None, kind: str) -> str:
    if not expression:
        raise Impossible(f"the text contains no {kind} that the schema admits")
    return expression


def types_of(schema: Schema) -> list[str]:
    """List the types that `schema` names, else those that its keywords apply to, else all."""
    if named := schema.get("type"):
        return list(named)
    kinds = [kind for kind in _KEYWORDS if kind != "integer"]
    return [kind for kind in kinds if not schema.keys().isdisjoint(_KEYWORDS[kind])] or kinds


def is_null(schema: Any) -> bool:
    """Whether `schema` itself says that null is allowed; it does not look into subschemas."""
    if not isinstance(schema, dict):
        return False
    return None in schema.get("enum", ()) or "null" in schema.get("type", ())
