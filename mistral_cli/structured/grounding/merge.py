"""A schema → an equivalent one whose parts stand alone: no `allOf`, nothing beside `anyOf`.

What a schema says of one value in several places (`allOf`, `$ref` and its siblings, `anyOf` beside
`properties`) is intersected, so that a grammar can be written part by part. A valid value of the
result is valid for the original, apart from the keywords in `unenforced`.

The result is in the vocabulary of draft 2020-12. It shares its subschemas, so it is to be followed
by identity and may be too large to be written out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

from mistral_cli.structured.denials import without_denials
from mistral_cli.structured.enforceable import ASSERTIONS, admits_nothing
from mistral_cli.structured.grounding.intersect import intersect_limits, intersect_types
from mistral_cli.structured.patterns import read_pattern
from mistral_cli.structured.schema import (
    Schema,
    as_resource,
    bad_schema,
    ignores_siblings,
    validator,
)

_MAX_BRANCHES = 64
"""Combinations of the choices in one place; what is beyond is left to validation."""

_MAX_PLACES = 30_000
"""Places of a schema with different things to say: they take 2 s."""

_CHOICES = ("anyOf", "oneOf")
_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}
_EXPANDED = {"$ref", "allOf"}
_UNENFORCED = {"not", "if", "contains", "uniqueItems", "$dynamicRef", "$recursiveRef"}
_UNENFORCED |= {"dependencies", "dependentRequired", "dependentSchemas"}
_UNENFORCED |= {"unevaluatedProperties", "unevaluatedItems"}

_OBJECT = {"properties", "required", "patternProperties", "additionalProperties", "propertyNames"}
_ARRAY = {"items", "prefixItems", "additionalItems"}


@dataclass(frozen=True)
class MergedSchema:
    """A schema in the normal form, and the keywords that it leaves to validation.

    A subschema is True, False, or a dict with one of: `$ref` (a name in `definitions`), `anyOf`,
    `enum`, or a list of `type`s with the keywords that apply to them. Without `type` it is of any
    type. The value of `pattern` and of `format` is a tuple: all of its members must match.
    """

    source: Schema
    root: Any
    definitions: dict[str, Any]
    unenforced: set[str]

    @cached_property
    def choices(self) -> list[Any]:
        """The values that the schema offers as choices anywhere."""
        choices, seen = list[Any](), set[int]()
        queue = [self.root, *self.definitions.values()]
        for schema in queue:  # which grows
            if isinstance(schema, dict) and id(schema) not in seen:
                seen.add(id(schema))
                choices += schema.get("enum", ())
                queue += _subschemas(schema)
        return choices


def merge(schema: Schema) -> MergedSchema:
    """Return `schema` in the normal form. Raises UsageError if it is too large for that."""
    plain = without_denials(schema)
    merger = _Merger(plain)
    try:
        root = merger.value([_Part(plain, as_resource(plain)[1])])
    except RecursionError as error:
        raise bad_schema("it is nested too deeply") from error
    except ValueError as error:
        raise bad_schema(str(error)) from error
    return MergedSchema(
        schema, root, merger.definitions, merger.unenforced | merger.contradictions()
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """A subschema that applies to a value, with what resolves its references."""

    contents: Any
    resolver: Any
    choices: frozenset[int] = frozenset()
    """The identities of the schemas, one of whose branches this part is."""

    def inner(self, contents: Any) -> _Part:
        """Return a subschema of this one that applies to the same value."""
        return _Part(contents, self.resolver, self.choices)

    def below(self, contents: Any) -> _Part:
        """Return a subschema of this one that applies to a part of the value."""
        return _Part(contents, self.resolver)


@dataclass(frozen=True, eq=False)
class _Branch:
    """Parts that apply together, with the choices among them that are made."""

    parts: tuple[_Part, ...]
    chosen: frozenset[tuple[int, str]] = frozenset()

    @property
    def open_choice(self) -> tuple[_Part, str] | None:
        for part in self.parts:
            for key in _CHOICES:
                if key in part.contents and (id(part.contents), key) not in self.chosen:
                    return part, key
        return None


class _Impossible(Exception):
    """No value can satisfy these parts together."""


@dataclass
class _Merger:
    schema: Schema
    definitions: dict[str, Any] = field(default_factory=dict)
    unenforced: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._validator = validator(self.schema)
        self._dialect = {"$schema": self.schema["$schema"]} if "$schema" in self.schema else {}
        self._ignores_siblings = ignores_siblings(self.schema)
        self._merged: dict[frozenset[int], Any] = {}
        self._names: dict[frozenset[int], str | None] = {}
        self._numbers = count()
        self._contradicted: dict[int, str] = {}
        self._satisfied: set[int] = set()

    def value(self, parts: Iterable[_Part]) -> Any:
        """Return the normal form of what `parts` say together of one value."""
        try:
            flat = tuple(self._flatten(parts))
        except _Impossible:
            return False
        key = frozenset(id(part.contents) for part in flat)
        if key in self._names:  # the schema refers to itself: this place is being merged
            name = self._names[key] or f"m{next(self._numbers)}"
            self._names[key] = name
            return {"$ref": name}
        if key not in self._merged:
            if len(self._merged) > _MAX_PLACES:
                raise bad_schema(f"its parts combine in more than {_MAX_PLACES} ways")
            self._names[key] = None
            result = self._alternatives(_Branch(flat))
            if own_name := self._names.pop(key):
                self.definitions[own_name] = result
                result = {"$ref": own_name}
            self._merged[key] = result
        return self._merged[key]

    def _flatten(self, parts: Iterable[_Part]) -> Iterator[_Part]:
        """Yield `parts` with all that their `$ref`s and `allOf`s add, each once."""
        queue, seen = list(parts)[::-1], set[int]()
        while queue:
            part = queue.pop()
            contents = part.contents
            if admits_nothing(contents):
                raise _Impossible
            if contents is True or id(contents) in seen:
                continue
            seen.add(id(contents))
            if "$id" in contents and contents is not self.schema:
                resource = as_resource({**self._dialect, **contents})[0]
                part = _Part(contents, part.resolver.in_subresource(resource), part.choices)
            stands_alone = "$ref" in contents and self._ignores_siblings
            if not stands_alone:
                queue += [part.inner(each) for each in reversed(contents.get("allOf", ()))]
            for key in contents.keys() & _REFERENCES:
                target = part.resolver.lookup(contents[key])
                queue.append(_Part(target.contents, target.resolver, part.choices))
            if contents.keys() & ASSERTIONS - _EXPANDED and not stands_alone:
                yield part

    def _alternatives(self, start: _Branch) -> Any:
        """Return the union of what is left when each choice in `start` is made."""
        if not start.parts:
            return True
        first = start.parts[0]
        if len(start.parts) == 1 and len(first.contents.keys() & ASSERTIONS) == 1:
            for key in first.contents.keys() & {*_CHOICES}:
                self._note_choice(key, first)
                return _union(self.value([first.inner(each)]) for each in first.contents[key])
        return _union(self._intersection(branch.parts) for branch in self._branches(start))

    def _branches(self, start: _Branch) -> list[_Branch]:
        """Distribute the choices in `start` over its other parts, up to _MAX_BRANCHES."""
        complete, queue = list[_Branch](), [start]
        while queue:
            branch = queue.pop(0)
            choice = branch.open_choice
            if choice is None:
                complete.append(branch)
                continue
            part, key = choice
            chosen = branch.chosen | {(id(part.contents), key)}
            total = len(complete) + len(queue) + len(part.contents[key])
            if total > _MAX_BRANCHES:
                self.unenforced.add(key)
                queue.append(_Branch(branch.parts, chosen))
                continue
            self._note_choice(key, part)
            queue += self._made(branch, part, key, chosen)
        return complete

    def _made(
        self, branch: _Branch, part: _Part, key: str, chosen: frozenset[tuple[int, str]]
    ) -> Iterator[_Branch]:
        """Yield `branch` once for each way to choose among the schemas of `part` under `key`."""
        choices = part.choices | {id(part.contents)}
        for each in part.contents[key]:
            added = _Part(each, part.resolver, choices)
            try:
                parts = tuple(self._flatten([*branch.parts, added]))
                reached = {id(other.contents) for other in self._flatten([added])}
            except _Impossible:
                continue
            if reached.isdisjoint(choices):  # else it stands for itself, and adds nothing
                yield _Branch(parts, chosen)

    def _note_choice(self, key: str, part: _Part) -> None:
        if key == "oneOf" and len(part.contents[key]) > 1:
            self.unenforced.add(key)

    def _intersection(self, parts: Sequence[_Part]) -> Any:
        """Return the normal form of `parts`, whose choices are made."""
        if not parts:
            return True
        schemas = [part.contents for part in parts]
        if any("enum" in schema or "const" in schema for schema in schemas):
            return self._enumeration(parts)
        types = intersect_types(schemas)
        if types == []:
            return False
        merged = intersect_limits(schemas)
        keywords = set[str]().union(*schemas)
        self.unenforced |= keywords & _UNENFORCED
        if keywords & _OBJECT and (types is None or "object" in types):
            merged |= self._object(parts)
        if keywords & _ARRAY and (types is None or "array" in types):
            merged |= self._array(parts)
        return merged if types is None else {"type": types, **merged}

    def _enumeration(self, parts: Sequence[_Part]) -> Any:
        """Return the choices that every one of `parts` accepts."""
        offers = [
            (part, key, [part.contents[key]] if key == "const" else part.contents[key])
            for part in parts
            for key in ("enum", "const")
            if key in part.contents
        ]
        offering, keyword, values = min(offers, key=lambda offer: len(offer[2]))
        # To compare each choice with all of them takes 9 s for 10,000.
        others = {key: value for key, value in offering.contents.items() if key != keyword}
        checked = [_Part(others, part.resolver) if part is offering else part for part in parts]
        accepted = [value for value in values if self._accepts(checked, value)]
        return {"enum": accepted} if accepted else False

    def _accepts(self, parts: Sequence[_Part], value: Any) -> bool:
        for part in parts:
            problems = self._validator.descend(value, part.contents, resolver=part.resolver)
            if next(problems, None):
                return False
        return True

    def _object(self, parts: Sequence[_Part]) -> Schema:
        """Return the keywords of objects that all of `parts` accept."""
        merged: Schema = {}
        required = _names(part.contents.get("required") for part in parts)
        if names := _names([*(part.contents.get("properties") for part in parts), required]):
            merged["properties"] = {name: self._property(parts, name) for name in names}
        if required:
            merged["required"] = required
        if patterns := _names(part.contents.get("patternProperties") for part in parts):
            merged["patternProperties"] = {
                pattern: self.value(each for part in parts for each in _of_pattern(part, pattern))
                for pattern in patterns
            }
        for key in ("additionalProperties", "propertyNames"):
            if said := _below(parts, key):
                merged[key] = self.value(said)
        return merged

    def _property(self, parts: Sequence[_Part], name: str) -> Any:
        keys = [
            p.below(p.contents["propertyNames"]) for p in parts if "propertyNames" in p.contents
        ]
        if not self._accepts(keys, name):
            return False
        said = [each for part in parts for each in _of_name(part, name)]
        value, identities = self.value(said), {id(each.contents) for each in said}
        if value is not False:
            self._satisfied |= identities
        elif all(each.contents is not False for each in said):
            self._contradicted |= dict.fromkeys(identities, name)
        return value

    def contradictions(self) -> set[str]:
        """Name the properties that the schema describes, but that no value can have."""
        names = {n for each, n in self._contradicted.items() if each not in self._satisfied}
        return {left_out(name) for name in names}

    def _array(self, parts: Sequence[_Part]) -> Schema:
        """Return the keywords of arrays that all of `parts` accept."""
        merged: Schema = {}
        lists = [(part, *_items(part.contents)) for part in parts]
        if length := max(len(first) for _, first, _ in lists):
            merged["prefixItems"] = [
                self.value(
                    part.below(first[index] if index < len(first) else rest)
                    for part, first, rest in lists
                )
                for index in range(length)
            ]
        merged["items"] = self.value(part.below(rest) for part, _, rest in lists)
        return merged


def _subschemas(schema: Schema) -> Iterator[Any]:
    """Yield the subschemas of one in the normal form."""
    for key in ("anyOf", "prefixItems"):
        yield from schema.get(key, ())
    for key in ("properties", "patternProperties"):
        yield from schema.get(key, {}).values()
    for key in ("items", "additionalProperties", "propertyNames"):
        yield schema.get(key)


def left_out(name: str) -> str:
    """Return the note about a property that is not in the grammar."""
    return f"the property {name!r}, which is left out because no value satisfies it"


def _union(schemas: Iterable[Any]) -> Any:
    """Return the normal form of a choice among `schemas`."""
    possible: dict[int, Any] = {}
    for schema in schemas:
        if schema is not False:
            possible.setdefault(id(schema), schema)
    if len(possible) == 1:
        return next(iter(possible.values()))
    return {"anyOf": list(possible.values())} if possible else False


def _names(lists: Iterable[Iterable[str] | None]) -> list[str]:
    """Return all names in `lists`, each once, in the order in which they appear."""
    return list(dict.fromkeys(name for names in lists for name in names or ()))


def _below(parts: Iterable[_Part], key: str) -> list[_Part]:
    """Return what those of `parts` say that have the keyword `key`, whose value is a schema."""
    return [part.below(part.contents[key]) for part in parts if key in part.contents]


def _of_name(part: _Part, name: str) -> Iterator[_Part]:
    """Yield what `part` says of the property `name`."""
    schema = part.contents
    said = [schema["properties"][name]] if name in schema.get("properties", {}) else []
    for pattern, inner in schema.get("patternProperties", {}).items():
        if read_pattern(pattern).matches(name):
            said.append(inner)
    for inner in said or [schema.get("additionalProperties", True)]:
        yield part.below(inner)


def _of_pattern(part: _Part, pattern: str) -> Iterator[_Part]:
    """Yield what `part` says of properties whose names match `pattern`, and nothing else in it."""
    patterns = part.contents.get("patternProperties", {})
    yield part.below(patterns.get(pattern, part.contents.get("additionalProperties", True)))


def _items(schema: Schema) -> tuple[list[Any], Any]:
    """Return the schemas of the first items, and that of all others."""
    items = schema.get("items", True)
    if isinstance(items, list):  # before draft 2020-12
        return items, schema.get("additionalItems", True)
    return schema.get("prefixItems", []), items
