"""What a schema denies → the same schema with the denials that a grammar can enforce.

A grammar knows no `not` and no `contains`. Much of what they say can be written in keywords that it
knows: `not: {"type": "null"}` leaves the other types, a list that must contain
an item has at least one. A part that no value matches becomes NOTHING, so that a schema which
needs it is refused before a model is loaded. What is left of these keywords is up to validation.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from mistral_cli.structured.enforceable import ASSERTIONS, NOTHING, admits_nothing
from mistral_cli.structured.schema import Schema, bad_schema, ignores_siblings, knows_keyword

_TYPES = ("null", "boolean", "object", "array", "string", "number")
_MAPS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
_PARTS = {"items", "prefixItems", "additionalItems", "additionalProperties", "propertyNames"}
_PARTS |= {"anyOf", "oneOf", "allOf", "not", "contains", "if", "then", "else"}
_REMOVED = ("/not", "/contains", "/oneOf", "/if", "/then", "/else")
_MOST_BRANCHES = 8  # for one part of `oneOf`
_EXACT = 2.0**53
"""A grammar writes larger numbers with all of their digits."""

_Rule = Callable[[Schema, Schema], Any]


def without_denials(schema: Schema) -> Schema:
    """Return `schema` without them; unchanged if it refers into one. Raises UsageError."""
    if any(part in reference for reference in _references(schema) for part in _REMOVED):
        return schema
    result = _settled(schema, schema)
    if admits_nothing(result):
        raise bad_schema("no value matches it, or none that a grammar can write")
    assert isinstance(result, dict)
    return result


def _references(schema: Any) -> Iterable[str]:
    parts = schema.items() if isinstance(schema, dict) else enumerate(schema)
    for key, inner in parts:
        if key == "$ref" and isinstance(inner, str):
            yield inner
        elif isinstance(inner, dict | list):
            yield from _references(inner)


def with_parts(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """Return `schema` with `change` applied to each of its subschemas, if they are in it."""
    result = dict(schema)
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            result[key] = {name: change(each) for name, each in value.items()}
        elif key in _PARTS:
            result[key] = [*map(change, value)] if isinstance(value, list) else change(value)
    return result


def _settled(part: Any, root: Schema) -> Any:
    if not isinstance(part, dict):
        return part
    result: Any = with_parts(part, lambda each: _settled(each, root))
    if "$ref" in part and ignores_siblings(root):
        return result
    for rule in _RULES:
        result = rule(result, root)
        if result is False:
            return NOTHING  # the dialects before draft 6 have no schema False
    return result


# --- not -----------------------------------------------------------------------------------------


def _negation(schema: Schema, _: Schema) -> Any:
    if "not" not in schema:
        return schema
    result: Any = {key: value for key, value in schema.items() if key != "not"}
    for denied in _alternatives(schema["not"]):
        result = _without(result, denied)
        if result is False:
            return False
        if result is None:  # this one is up to validation
            return schema
    return result


def _alternatives(denied: Any) -> list[Any]:
    if isinstance(denied, dict) and denied.keys() & ASSERTIONS == {"anyOf"}:
        return list(denied["anyOf"])
    return [denied]


def _without(schema: Schema, denied: Any) -> Any:
    """Return `schema` without the values of `denied`; None if no grammar can say that."""
    keys = denied.keys() & ASSERTIONS if isinstance(denied, dict) else set[str]()
    if admits_nothing(denied):
        return schema
    if not keys:
        return False
    if keys == {"type"}:
        return _without_types(schema, _listed(denied["type"]))
    if keys in ({"enum"}, {"const"}):
        return _without_choices(schema, denied.get("enum", [denied.get("const")]))
    if keys <= {"required", "type"} and len(denied.get("required", [])) == 1:
        if "type" not in denied:  # what is not an object has all required properties
            others = _without_types(schema, [each for each in _TYPES if each != "object"])
        else:
            others = schema if denied["type"] == "object" else None
        if isinstance(others, dict):
            return _without_property(others, denied["required"][0])
        return others
    return None


def _without_types(schema: Schema, denied: list[str]) -> Any:
    given = _listed(schema.get("type", [*_TYPES]))
    if "integer" in denied and "number" not in denied and "number" in given:
        return None
    denied = [*denied, "integer"] if "number" in denied else denied
    left = [each for each in given if each not in denied]
    if not left:
        return False
    return {**schema, "type": left[0] if len(left) == 1 else left} if left != given else schema


def _without_choices(schema: Schema, denied: list[Any]) -> Any:
    texts = {_canonical(each) for each in denied}
    if "const" in schema:
        return False if _canonical(schema["const"]) in texts else schema
    if "enum" in schema:
        left = [each for each in schema["enum"] if _canonical(each) not in texts]
        return {**schema, "enum": left} if left else False
    return None


def _without_property(schema: Schema, name: str) -> Any:
    if name in schema.get("required", ()):
        return _without_types(schema, ["object"])
    if _has_patterns(schema):
        return None
    result = {**schema, "properties": {**schema.get("properties", {}), name: NOTHING}}
    if "properties" not in schema:  # it names no others, and does not forbid them
        result.setdefault("additionalProperties", True)
    return result


# --- lists ---------------------------------------------------------------------------------------


def _contains(schema: Schema, root: Schema) -> Any:
    if "contains" not in schema or not knows_keyword(root, "contains"):
        return schema
    counts = knows_keyword(root, "dependentRequired")  # as old as minContains
    least: int = schema.get("minContains", 1) if counts else 1
    most: int = schema.get("maxContains", least) if counts else least
    if (least and admits_nothing(schema["contains"])) or most < least:
        return _without_types(schema, ["array"])
    result = {**schema, "minItems": max(least, schema.get("minItems", 0))} if least else schema
    if most == least and schema["contains"] in (True, {}) and "maxContains" not in schema:
        dropped = ("contains", "minContains")
        result = {key: value for key, value in result.items() if key not in dropped}
    return result


def _distinct(schema: Schema, _: Schema) -> Any:
    """A list of different items has no more of them than there are."""
    if schema.get("uniqueItems") is not True or "prefixItems" in schema:
        return schema
    number = _number_of_values(schema.get("items"))
    if number is None:
        return schema
    return {**schema, "maxItems": min(number, schema.get("maxItems", number))}


def _number_of_values(schema: Any) -> int | None:
    if not isinstance(schema, dict):
        return None
    if "const" in schema or "enum" in schema:
        return len({*map(_canonical, schema.get("enum", [0]))})
    counts = {"boolean": 2, "null": 1}
    kinds = _listed(schema.get("type", "string"))
    return sum(counts[each] for each in kinds) if {*kinds} <= counts.keys() else None


# --- choices -------------------------------------------------------------------------------------


def _choices(schema: Schema, _: Schema) -> Any:
    """Leave out numbers that a grammar writes as others, such as 1e308 as a 1 with 308 zeros."""
    if "const" in schema and not _is_writable(schema["const"]):
        return False
    if "enum" not in schema:
        return schema
    left = [each for each in schema["enum"] if _is_writable(each)]
    return {**schema, "enum": left} if left else False


def _is_writable(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_writable, value.values() if isinstance(value, dict) else value))
    if not isinstance(value, float) or abs(value) < _EXACT:
        return True
    digits, _, exponent = repr(value).partition("e")
    whole, _, fraction = digits.removesuffix(".0").partition(".")
    written: float = int(whole + fraction) * 10 ** (int(exponent or 0) - len(fraction))
    return written == value


def _one_of(schema: Schema, _: Schema) -> Any:
    """A part of `oneOf` that is there twice matches twice: no value may match it."""
    if "oneOf" not in schema:
        return schema
    texts = [_canonical(each) for each in schema["oneOf"]]
    pairs = zip(schema["oneOf"], texts, strict=True)
    left = [each for each, text in pairs if texts.count(text) == 1 and not admits_nothing(each)]
    return _exclusive({**schema, "oneOf": left}) if left else False


def _exclusive(schema: Schema) -> Any:
    """Parts that only require properties: each without a property that another one requires."""
    parts, required = schema["oneOf"], {*schema.get("required", [])}
    # Without a type, a part also matches what is not an object.
    typed = schema.get("type") == "object"
    # A grammar cannot forbid one of the keys that a pattern allows.
    if _has_patterns(schema) or not all(_only_requires(each, typed=typed) for each in parts):
        return schema
    needs = [{*each["required"]} | required for each in parts]
    branches = list[Any]()
    for part, own in zip(parts, needs, strict=True):
        others = [sorted(each - own) for each in needs if each is not own]
        if math.prod(map(len, others)) > _MOST_BRANCHES:
            return schema
        for absent in itertools.product(*others):  # none if another part always matches too
            denied = {**part, "properties": dict.fromkeys(absent, NOTHING)}
            branches.append({**denied, "additionalProperties": True} if absent else part)
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    if not branches:
        return _without_types(rest, ["object"])
    return {**rest, "allOf": [*rest.get("allOf", []), {"anyOf": branches}]}


def _has_patterns(schema: Schema) -> bool:
    return "patternProperties" in schema


def _only_requires(part: Any, *, typed: bool) -> bool:
    keys = part.keys() & ASSERTIONS if isinstance(part, dict) else set[str]()
    kind = "object" if typed and "type" not in keys else keys and part.get("type")
    return "required" in keys and keys <= {"required", "type"} and kind == "object"


def _names(schema: Schema, root: Schema) -> Any:
    """An object whose keys may have no name is empty."""
    if not admits_nothing(schema.get("propertyNames")) or not knows_keyword(root, "propertyNames"):
        return schema
    if schema.get("required") or schema.get("minProperties"):
        return _without_types(schema, ["object"])
    return {**schema, "properties": {}, "patternProperties": {}, "additionalProperties": False}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _canonical(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _condition(schema: Schema, root: Schema) -> Any:
    """An `if` that always or never holds."""
    always, never = schema.get("if") in (True, {}), admits_nothing(schema.get("if"))
    if not (always or never) or not knows_keyword(root, "if"):
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("if", "then", "else")}
    branch = schema.get("then" if always else "else", True)
    if admits_nothing(branch):
        return False
    return rest if branch is True else {**rest, "allOf": [*rest.get("allOf", []), branch]}


_RULES: tuple[_Rule, ...] = (
    _choices,
    _negation,
    _one_of,
    _contains,
    _distinct,
    _names,
    _condition,
)
