"""A schema → the part of it that a grammar can enforce, as a schema without unknown keywords.

The result admits every value of the schema, but for unnamed properties (`closed`). Where it
admits more, a note names the keyword, and validation decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from mistral_cli.structured.patterns import are_disjoint, read_pattern
from mistral_cli.structured.schema import (
    Schema,
    as_resource,
    dialect_of,
    ignores_siblings,
    resolver_in,
)

ASSERTIONS = {"type", "enum", "const", "$ref", "$dynamicRef", "$recursiveRef"}
ASSERTIONS |= {"allOf", "anyOf", "oneOf", "not", "if", "then", "else"}
ASSERTIONS |= {"properties", "required", "additionalProperties", "patternProperties"}
ASSERTIONS |= {"minProperties", "maxProperties", "propertyNames", "unevaluatedProperties"}
ASSERTIONS |= {"dependencies", "dependentRequired", "dependentSchemas"}
ASSERTIONS |= {"items", "prefixItems", "additionalItems", "contains", "unevaluatedItems"}
ASSERTIONS |= {"minItems", "maxItems", "uniqueItems", "minContains", "maxContains"}
ASSERTIONS |= {"minLength", "maxLength", "pattern", "format"}
ASSERTIONS |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
"""Keywords that constrain a value; all others are annotations."""

NOTHING: Schema = {"not": {}}
"""No value matches this, in any draft."""

ENFORCED_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6"}
ENFORCED_FORMATS |= {"uuid", "uri"}
"""The formats that llguidance knows."""

_COPIED = {"type", "enum", "const", "required", "multipleOf"}
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_HARMLESS: dict[str, Any] = {"uniqueItems": False, "not": False, "contains": True}
"""Values with which a keyword admits everything, or nearly."""

_NAMED_ELSEWHERE = {"allOf", "anyOf", "oneOf", "$ref", "const", "enum"}
_PROPERTIES = ["properties", "patternProperties", "additionalProperties"]
_MERGE_FAILED = ("stack level exceeded", "schema too large", "not disjoint")
_LENGTHS = {"minLength", "maxLength"}
_SIZES = {"minItems", "maxItems"}
_COUNTS = {"minProperties", "maxProperties"}
_ANY_KEY = "^(?:(?s:.*))$"
_LARGEST_SIZE = 2**31  # which no answer reaches; a grammar counts no further than 2^63
_LARGEST_BOUND = 2.0**53  # of an integer; llguidance compiles no range of 64 bits


class Relaxation:
    """What a grammar must do without, found by trying to compile it."""

    def __init__(self) -> None:
        self.inlines = False
        """References beside other keywords are written out."""
        self.opened: set[int] = set()
        """Definitions (by identity) that are replaced by any value."""
        self.separates = False
        """`allOf` is left to validation, but for what stands beside it."""
        self.drops_lengths = False
        """A string with a pattern may have any length: counting multiplies its states."""

    def go_on(self, report: str, part: Enforceable) -> bool:
        """Leave more to validation after an error of llguidance; False if that does not help."""
        problem = report.partition("\n")[0]
        if "circular references" in problem and not self.inlines:
            self.inlines = True
        elif "circular references" in problem:
            key = part.definition(problem.rpartition("#")[2])
            if key in self.opened:
                return False
            self.opened.add(key)
        elif any(limit in problem for limit in _MERGE_FAILED) and not self.separates:
            self.separates = True
        elif "lexer error" in problem and not self.drops_lengths:
            self.drops_lengths = True
        else:
            return False
        return True


class Enforceable:
    """The part of `source` that a grammar can enforce, in `schema`, and `notes` about the rest.

    `formats` are those that the grammar does not know. With `most`, strings with a pattern or a
    format have so many characters at most, although the schema allows more. Raises UsageError,
    ValueError.
    """

    def __init__(
        self,
        source: Schema,
        relaxation: Relaxation,
        once: tuple[str, ...] = (),
        most: int | None = None,
    ) -> None:
        self.notes: set[str] = set()
        self.formats: set[str] = set()
        self._relaxation = relaxation
        self._once = once
        self._most = most
        self._source = source
        self._dialect = dialect_of(source)
        self._legacy = ignores_siblings(source)
        self._names: dict[int, str] = {}
        self._queue: list[tuple[Any, Any]] = []
        self._inlining: list[int] = []
        self._merging = 0  # how many parts of `allOf` and the like are around
        root = self._value(source, as_resource(source)[1])
        definitions: dict[str, Any] = {}
        for contents, resolver in self._queue:  # which grows
            definitions[self._names[id(contents)]] = self._value(contents, resolver)
        root = root if isinstance(root, dict) else {"anyOf": [root]}
        self.schema: Schema = {**root, "$defs": definitions} if definitions else root

    def definition(self, pointer: str) -> int:
        """Return the identity of the definition that `pointer` in `schema` leads to."""
        name = pointer.rpartition("/")[2]
        return next((key for key, known in self._names.items() if known == name), id(self._source))

    def _value(self, contents: Any, resolver: Any) -> Any:
        if not isinstance(contents, dict):
            return contents
        if admits_nothing(contents):
            return False
        if contents is not self._source:
            resolver = resolver_in(contents, resolver, self._dialect)
        keywords = _in_order(contents)
        if "$ref" in keywords and self._legacy:
            return self._reference(contents["$ref"], resolver)
        result: Schema = {}
        merges = len(keywords) > 1 and not _NAMED_ELSEWHERE.isdisjoint(keywords)
        self._merging += merges
        for key in keywords:
            if key == "$ref":
                self._add_reference(contents, keywords, resolver, result)
            elif key == "allOf":
                self._add_all(contents, keywords, resolver, result)
            elif key in _LENGTHS and self._relaxation.drops_lengths and "pattern" in contents:
                self.notes.add(key)
            elif key in _COPIED:
                result[key] = contents[key]
            elif make := self._MAKERS.get(key):
                make(self, contents, resolver, result)
            elif key not in ("then", "else") and contents[key] != _HARMLESS.get(key, ...):
                self.notes.add(key)
        self._merging -= merges
        if self._most and not {"pattern", "format"}.isdisjoint(result):
            result["maxLength"] = min(self._most, result.get("maxLength", self._most))
        if self._once:
            self._name_keys(contents, result)
        return result

    def _name_keys(self, contents: Schema, result: Schema) -> None:
        """Name keys that the schema leaves open: a named one cannot come twice."""
        kinds = contents.get("type", "object" if "additionalProperties" in contents else "")
        if "object" not in kinds or not {*contents}.isdisjoint(_NAMED_ELSEWHERE):
            return
        more, patterns = result.get("additionalProperties", True), result.get("patternProperties")
        named = dict(result.get("properties", {}))
        for key in self._once:
            matching = [p for p in contents.get("patternProperties", ()) if _matches(p, key)]
            if key not in named and (more is not False or matching):
                # A pattern's value may differ from pattern to pattern: validation compares it.
                named[key] = _either([*(patterns or {}).values()]) if matching else more
        if named:
            result.pop("properties", None)
            rest = {**result}
            result.clear()
            result.update({"properties": named, **rest})

    # --- references ------------------------------------------------------------------------------

    def _reference(self, reference: Any, resolver: Any) -> Any:
        found = resolver.lookup(reference)
        contents = found.contents
        if not isinstance(contents, dict):
            return contents
        if admits_nothing(contents):
            return False  # a grammar knows that of a property, but not of one that refers to it
        if id(contents) in self._relaxation.opened:
            self.notes.add("$ref in a circle")
            return True
        if contents is self._source:
            return {"$ref": "#"}
        if id(contents) not in self._names:
            self._names[id(contents)] = f"r{len(self._names)}"
            self._queue.append((contents, found.resolver))
        return {"$ref": f"#/$defs/{self._names[id(contents)]}"}

    def _add_reference(
        self, contents: Schema, keywords: list[str], resolver: Any, result: Schema
    ) -> None:
        reference = contents["$ref"]
        if len(keywords) == 1 or not self._relaxation.inlines:
            target = self._reference(reference, resolver)
            result.update(target if isinstance(target, dict) else {"anyOf": [target]})
        else:
            result.setdefault("allOf", []).append(self._inlined(reference, resolver))

    def _inlined(self, reference: Any, resolver: Any) -> Any:
        """Write out the target: a grammar cannot merge a definition that is not complete yet."""
        found = resolver.lookup(reference)
        if id(found.contents) in (*self._inlining, *self._relaxation.opened):
            self.notes.add("$ref in a circle")
            return True
        self._inlining.append(id(found.contents))
        contents = found.contents
        if isinstance(contents, dict) and "$ref" in contents and not self._others(contents):
            value = self._inlined(contents["$ref"], found.resolver)
        else:
            value = self._value(contents, found.resolver)
        self._inlining.pop()
        return value

    def _add_all(
        self, contents: Schema, keywords: list[str], resolver: Any, result: Schema
    ) -> None:
        parts: list[Any] = contents["allOf"]
        if self._relaxation.separates and len(keywords) + len(parts) > 2:
            self.notes.add("allOf")
            if not {*keywords} <= {"allOf", "type"}:
                return
            parts = max(([part] for part in parts), key=lambda part: len(str(part)))
        combined = len(parts) > 1 or len(keywords) > 1
        made = result.setdefault("allOf", [])
        for part in parts:
            bare = isinstance(part, dict) and "$ref" in part
            if bare and combined and self._relaxation.inlines and not self._others(part):
                made.append(self._inlined(part["$ref"], resolver))
            else:
                made.append(self._value(part, resolver))

    def _others(self, part: Schema) -> bool:
        return not self._legacy and len(part.keys() & ASSERTIONS) > 1

    # --- keywords --------------------------------------------------------------------------------

    def _properties(self, contents: Schema, resolver: Any, result: Schema) -> None:
        members = contents["properties"].items()
        result["properties"] = {name: self._value(inner, resolver) for name, inner in members}

    def _any_of(self, contents: Schema, resolver: Any, result: Schema) -> None:
        result["anyOf"] = [self._value(inner, resolver) for inner in contents["anyOf"]]

    def _one_of(self, contents: Schema, resolver: Any, result: Schema) -> None:
        result["oneOf"] = [self._value(inner, resolver) for inner in contents["oneOf"]]

    def _additional(self, contents: Schema, resolver: Any, result: Schema) -> None:
        result["additionalProperties"] = self._value(contents["additionalProperties"], resolver)

    def _count(self, contents: Schema, _: Any, result: Schema) -> None:
        """Limit the number of properties where llguidance can: it counts only unnamed ones."""
        optional = contents.get("properties", {}).keys() - {*contents.get("required", [])}
        least, most = contents.get("minProperties", 0), contents.get("maxProperties")
        closed = contents.get("additionalProperties") is False
        countable = least <= 1 and most in (None, 1) and closed
        merged = self._merging or not {*contents}.isdisjoint(_NAMED_ELSEWHERE)
        if merged or (optional and not (countable and "patternProperties" not in contents)):
            self.notes.add("minProperties" if least else "maxProperties")
            return
        result.update(sizes_of(contents, _COUNTS))

    def _patterns(self, contents: Schema, resolver: Any, result: Schema) -> None:
        more = contents.get("additionalProperties", True)
        keys: list[tuple[str, list[Any]]] = []
        for name, inner in contents["patternProperties"].items():
            pattern = read_pattern(name)
            values = [self._value(inner, resolver)]
            if not pattern.exact or len(pattern.enforced) > 1:
                self.notes.add("patternProperties")
                values += [self._value(more, resolver)] if more is not False else []
            keys.append((pattern.enforced[-1] if pattern.enforced else _ANY_KEY, values))
        result["patternProperties"] = {key: _either(values) for key, values in self._apart(keys)}

    def _apart(self, keys: list[tuple[str, list[Any]]]) -> list[tuple[str, list[Any]]]:
        """Join keys that overlap: a grammar must know from a key which schema its value has."""
        if are_disjoint(*(key for key, _ in keys)):
            return keys
        apart: list[tuple[str, list[Any]]] = []
        for key, values in keys:
            for other, others in [*apart]:
                if not are_disjoint(key, other):
                    apart.remove((other, others))
                    key = f"^(?:{_unanchored(other)}|{_unanchored(key)})$"
                    if values != others:
                        self.notes.add("patternProperties")
                    values = [*others, *(value for value in values if value not in others)]
            apart.append((key, values))
        return apart

    def _items(self, contents: Schema, resolver: Any, result: Schema) -> None:
        items = contents["items"]
        if isinstance(items, list):
            result["prefixItems"] = [self._value(inner, resolver) for inner in items]
            if "additionalItems" in contents:
                result["items"] = self._value(contents["additionalItems"], resolver)
        else:
            result["items"] = self._value(items, resolver)

    def _nothing(self, contents: Schema, resolver: Any, result: Schema) -> None:
        """`additionalItems` has its place in `_items`."""

    def _prefix(self, contents: Schema, resolver: Any, result: Schema) -> None:
        if self._legacy:
            return
        result["prefixItems"] = [self._value(inner, resolver) for inner in contents["prefixItems"]]

    def _pattern(self, contents: Schema, _: Any, result: Schema) -> None:
        pattern = read_pattern(contents["pattern"])
        if not pattern.exact:
            self.notes.add(f"the pattern {contents['pattern']}")
        if len(pattern.enforced) == 1:
            (result["pattern"],) = pattern.enforced
        elif pattern.enforced:
            parts = [{"pattern": expression} for expression in pattern.enforced]
            result.setdefault("allOf", []).extend(parts)

    def _format(self, contents: Schema, _: Any, result: Schema) -> None:
        if contents["format"] in ENFORCED_FORMATS:
            result["format"] = contents["format"]
        else:
            self.formats.add(contents["format"])

    def _lengths(self, contents: Schema, _: Any, result: Schema) -> None:
        result.update(sizes_of(contents, _LENGTHS))

    def _sizes(self, contents: Schema, _: Any, result: Schema) -> None:
        result.update(sizes_of(contents, _SIZES))

    def _bounds(self, contents: Schema, _: Any, result: Schema) -> None:
        for key in [key for key in contents if key in _BOUNDS]:
            if abs(contents[key]) < _LARGEST_BOUND:
                result[key] = contents[key]
            else:
                self.notes.add(key)

    _MAKERS: ClassVar[dict[str, Callable[[Enforceable, Schema, Any, Schema], None]]] = {
        "properties": _properties,
        "additionalProperties": _additional,
        "patternProperties": _patterns,
        "anyOf": _any_of,
        "oneOf": _one_of,
        "items": _items,
        "prefixItems": _prefix,
        "additionalItems": _nothing,
        "pattern": _pattern,
        "format": _format,
        **dict.fromkeys(_BOUNDS, _bounds),
        **dict.fromkeys(_LENGTHS, _lengths),
        **dict.fromkeys(_SIZES, _sizes),
        **dict.fromkeys(_COUNTS, _count),
    }


def admits_nothing(schema: Any) -> bool:
    """Whether `schema` says outright that no value matches it."""
    return schema is False or schema == NOTHING


def sizes_of(contents: Schema, keywords: Iterable[str]) -> dict[str, int]:
    """The limits of lengths or counts in `contents`, without those that no answer exceeds.

    JSON Schema takes 2.0 for a whole number, a grammar does not.
    """
    sizes = {key: int(contents[key]) for key in keywords if key in contents}
    return {key: size for key, size in sizes.items() if key[:3] == "min" or size < _LARGEST_SIZE}


def _matches(pattern: str, key: str) -> bool:
    return read_pattern(pattern).matches(key)


def _in_order(schema: Schema) -> list[str]:
    """List the keywords of `schema`, those about properties together.

    llguidance merges parts in the order of the keywords, and would forbid with
    `additionalProperties` what a later `patternProperties` allows.
    """
    keywords = [key for key in schema if key in ASSERTIONS]
    first = next((key for key in keywords if key == "properties"), None)
    first = first or next((key for key in keywords if key in _PROPERTIES), None)
    together = [key for key in _PROPERTIES if key in keywords]
    others = [key for key in keywords if key not in _PROPERTIES or key == first]
    return [each for key in others for each in (together if key == first else [key])]


def _either(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else {"anyOf": values}


def _unanchored(expression: str) -> str:
    return expression.removeprefix("^(?:").removesuffix(")$")
