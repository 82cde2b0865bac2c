"""A schema and a text → a grammar whose strings and numbers can only come from the text.

Strings with `enum` or `const` are choices, not extractions, and stay as they are. The grammar
may admit less than the schema (never a property that it does not name); where it admits more,
`ignored` says so and validation decides.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.grammar import ANNOTATIONS, GUIDANCE, list_of
from mistral_cli.structured.schema import Schema, as_resource, bad_schema, validator
from mistral_cli.structured.source import Source

_KEYWORDS: dict[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "boolean": set(),
    "null": set(),
}
_KEYWORDS["integer"] = _KEYWORDS["number"]
_REFUSED = {"allOf", "patternProperties", "prefixItems", "$dynamicRef", "$recursiveRef"}
_REFUSED |= {"dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems"}

_LONGEST_KEY = 64  # characters of a key that the schema does not name

# One character of a JSON string, as it is written there.
_CHARACTER = r"(?s:[^\\]|\\[^u]|\\u[0-9a-f]{4})"
_NOTHING = '""'


class _Impossible(Exception):
    """The text holds nothing that could stand at some place of the schema."""


class Grounding:
    """The grammar of `schema` over `source`, and which keywords it leaves out.

    Raises UsageError for a schema that cannot be grounded, OutputInvalid for a text that
    lacks what the schema insists on.
    """

    def __init__(self, schema: Schema, source: Source, *, many: bool) -> None:
        self.ignored: set[str] = set()
        self._source = source
        self._dialect = {"$schema": schema["$schema"]} if "$schema" in schema else {}
        self._rules: dict[str, str] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._referred: dict[tuple[int, bool], str] = {}
        try:
            item = self._rule(self._value(schema, as_resource(schema)[1]))
            self._rules["start"] = list_of(item) if many else item
        except _Impossible as problem:
            if not many:
                hint = "Allow null there in the schema, or use --no-grounded."
                raise OutputInvalid(str(problem), hint=hint) from problem
            self._rules["start"] = '"[]"'

    @property
    def grammar(self) -> str:
        """The grammar as text."""
        return "%llguidance {}\n" + "".join(f"{n}: {rule}\n" for n, rule in self._rules.items())

    def _rule(self, expression: str, kind: str = "r") -> str:
        """The name of a rule for `expression`; those of terminals begin with a capital."""
        name = self._names.setdefault((kind, expression), f"{kind}{len(self._rules)}")
        self._rules[name] = expression
        return name

    def _value(self, schema: Any, resolver: Any, *, nullable: bool = False) -> str:
        """The expression of a value; `nullable` says that null is possible in its place."""
        if schema is False:
            raise bad_schema("`false` cannot be grounded")
        keywords = set() if schema is True else schema.keys() - ANNOTATIONS
        if not keywords:
            return self._anything()
        if refused := sorted(keywords & _REFUSED):
            raise bad_schema(f"{refused[0]} cannot be grounded")
        if not keywords.isdisjoint({"enum", "const"}):
            self.ignored |= keywords - {"enum", "const", "type"}
            return "%json " + json.dumps({**schema, "x-guidance": GUIDANCE})
        for key in ("$ref", "anyOf", "oneOf"):
            if key in keywords:
                return self._combined(key, schema, resolver, nullable)
        return self._typed(schema, resolver, nullable)

    def _combined(self, key: str, schema: Schema, resolver: Any, nullable: bool) -> str:
        if others := sorted(schema.keys() - ANNOTATIONS - {key}):
            raise bad_schema(f"{key} beside {others[0]} cannot be grounded")
        if key == "$ref":
            return self._reference(schema["$ref"], resolver, nullable)
        if key == "oneOf":
            self.ignored.add(key)
        choices = schema[key]
        nullable = nullable or any(c.get("type") == "null" for c in choices if isinstance(c, dict))
        return self._any_of(
            partial(self._value, choice, resolver, nullable=nullable) for choice in choices
        )

    def _reference(self, reference: str, resolver: Any, nullable: bool) -> str:
        found = resolver.lookup(reference)
        key = (id(found.contents), nullable)
        if key not in self._referred:
            name = self._referred[key] = f"ref{len(self._rules)}"
            self._rules[name] = '"null"'  # holds its place while it may refer to itself
            try:
                self._rules[name] = self._value(found.contents, found.resolver, nullable=nullable)
            except _Impossible:
                del self._referred[key]
                raise
        return self._referred[key]

    def _typed(self, schema: Schema, resolver: Any, nullable: bool) -> str:
        types = _types(schema)
        known = set[str]().union(*(_KEYWORDS[kind] for kind in types))
        self.ignored |= schema.keys() - ANNOTATIONS - known - {"type"}
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
        admits = self._admits(schema)
        empty = ['"\\"\\""'] if not nullable and admits("") else []
        if not schema.keys().isdisjoint({"pattern", "format"}):
            spans = self._source.candidates(admits)
            if spans is not None:
                return self._listed(map(_json, spans), "string", empty)
            self.ignored |= schema.keys() & {"pattern", "format"}
        shortest, longest = max(schema.get("minLength", 1), 1), schema.get("maxLength", math.inf)
        if longest < shortest:
            return self._listed((), "string", empty)
        most = "" if longest == math.inf else longest
        bounds = f" & /{_CHARACTER}{{{shortest},{most}}}/" if (shortest, most) != (1, "") else ""
        if "SPAN" not in self._rules:
            chunks = [_json(chunk)[1:-1] for chunk in self._source.chunks]
            self._rules["SPAN"] = f"%regex {_json({'substring_chunks': chunks})}"
            self._rules["TRIMMED"] = "SPAN & /[^ ](?s:.*[^ ])?/"
        return " | ".join([self._rule(f'"\\"" (TRIMMED{bounds}) "\\""', "T"), *empty])

    def _admits(self, schema: Schema) -> Callable[[str], bool]:
        """Whether a text has the pattern, format and length that `schema` wants."""
        pattern, form = re.compile(schema.get("pattern", "")), schema.get("format")
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        checker = validator(self._dialect).format_checker
        return lambda text: (
            shortest <= len(text) <= longest
            and pattern.search(text) is not None
            and (form is None or checker.conforms(text, form))
        )

    def _number(self, schema: Schema) -> str:
        limits = {key: schema[key] for key in schema.keys() & {*_KEYWORDS["number"]}}
        held = validator({**limits, **self._dialect})
        whole = schema.get("type") == "integer"
        literals = (
            literal
            for literal in self._source.numbers
            if held.is_valid(json.loads(literal))
            and (not whole or literal.removeprefix("-").isdecimal())
        )
        return self._listed(literals, "number", [])

    def _listed(self, literals: Iterable[str], kind: str, more: list[str]) -> str:
        listed = " | ".join(map(_json, literals))
        if not listed and not more:
            raise _Impossible(f"the text holds no {kind} that the schema admits")
        return " | ".join([self._rule(listed, "T"), *more] if listed else more)

    def _object(self, schema: Schema, resolver: Any) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not properties and not required:
            return self._map(schema.get("additionalProperties", True), resolver)
        members: list[tuple[str, bool]] = []
        for name in dict.fromkeys([*properties, *required]):
            try:
                value = self._value(properties.get(name, True), resolver)
            except _Impossible as problem:
                if name in required:
                    raise _Impossible(f"{problem}, for {name!r}") from problem
                continue
            key = _json(_json(name) + ": ")
            members.append((f"{key} {self._rule(value)}", name in required))
        return f'"{{" {self._members(members)} "}}"'

    def _members(self, members: list[tuple[str, bool]]) -> str:
        """Members in their order, with commas between those that are there."""
        first, later = "", ""  # what can follow, before and after the first member
        for member, required in reversed(members):
            rest = later if required or not later else self._rule(later)
            first = f"{member} {rest}" + ("" if required else f" | {first or _NOTHING}")
            later = f'", " {member} {later}' if required else f'(", " {member})? {later}'
        return self._rule(first or _NOTHING)

    def _map(self, values: Any, resolver: Any) -> str:
        """An object with keys that the schema does not name; those are the model's own."""
        try:
            value = '""' if values is False else self._rule(self._value(values, resolver))
        except _Impossible:
            values = False
        if values is False:
            return '"{}"'
        key = {"type": "string", "maxLength": _LONGEST_KEY, "x-guidance": GUIDANCE}
        member = f'{self._rule(f"%json {_json(key)}")} ": " {value}'
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


def _json(value: Any) -> str:
    """`value` as JSON, which is also how the grammar writes a text."""
    return json.dumps(value, ensure_ascii=False)
