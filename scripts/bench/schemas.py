"""JSON Schemas for the benchmark: written by hand after real ones, with random variations.

Kinds and proportions follow public collections: function calls, API objects, configuration files,
forms, recursive documents, unions, and keywords that grammars cannot enforce.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

STR: Schema = {"type": "string"}
INT: Schema = {"type": "integer"}
NUM: Schema = {"type": "number"}
BOOL: Schema = {"type": "boolean"}
DATE: Schema = {"type": "string", "format": "date"}
TIME: Schema = {"type": "string", "format": "date-time"}
EMAIL: Schema = {"type": "string", "format": "email"}
UUID: Schema = {"type": "string", "format": "uuid"}


def obj(*, optional: str = "", closed: bool = True, **properties: Schema) -> Schema:
    """An object; `optional` names the properties that are not required."""
    required = [name for name in properties if name not in optional.split()]
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    return schema | ({"additionalProperties": False} if closed else {})


def text(most: int, least: int = 0) -> Schema:
    """A string of limited length."""
    return {"type": "string", "maxLength": most} | ({"minLength": least} if least else {})


def number(kind: str, low: float, high: float) -> Schema:
    """A number with limits."""
    return {"type": kind, "minimum": low, "maximum": high}


def some(items: Schema, least: int = 0, most: int = 3) -> Schema:
    """A short list."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def one_of(*values: Any) -> Schema:
    """A choice."""
    return {"enum": list(values)}


def pattern(expression: str) -> Schema:
    """A string that matches a pattern."""
    return {"type": "string", "pattern": expression}


def nullable(schema: Schema) -> Schema:
    """`schema` or null."""
    return {"anyOf": [schema, {"type": "null"}]}


ADDRESS = obj(
    street=text(40), zip=pattern("^[0-9]{5}$"), city=text(30), country=one_of("DE", "FR", "US")
)
PERSON = obj(name=text(40, 1), age=number("integer", 0, 120), email=EMAIL)
MONEY = obj(amount=number("number", 0, 1e6), currency=one_of("EUR", "USD", "GBP"))

BY_HAND: dict[str, Schema] = {
    "person": PERSON,
    "address": ADDRESS,
    "customer": obj(person=PERSON, address=ADDRESS, vip=BOOL),
    "invoice": obj(
        number=pattern("^INV-[0-9]{4,6}$"), date=DATE, total=MONEY,
        lines=some(obj(item=text(30), quantity=number("integer", 1, 99), price=NUM), 1),
    ),
    "order": obj(id=UUID, status=one_of("open", "paid", "sent"), placed=TIME, notes=nullable(text(60))),
    "product": obj(sku=pattern("^[A-Z]{3}-[0-9]{3}$"), name=text(40), price=number("number", 0.01, 9999), tags=some(text(15)), stock=number("integer", 0, 1000)),
    "event": obj(title=text(50), start=TIME, end=TIME, place=nullable(ADDRESS), public=BOOL),
    "ticket": obj(severity=one_of("low", "medium", "high"), component=one_of("api", "ui", "db"), summary=text(80), duplicate_of=nullable(number("integer", 1, 99999))),
    "commit": obj(type=one_of("feat", "fix", "docs", "chore"), scope=text(20), subject=text(72, 5), breaking=BOOL, optional="scope"),
    "recipe": obj(name=text(40), servings=number("integer", 1, 12), ingredients=some(obj(name=text(25), grams=number("number", 1, 2000)), 1, 4), steps=some(text(80), 1, 4)),
    "flight": obj(carrier=pattern("^[A-Z]{2}$"), flight=pattern("^[0-9]{1,4}$"), departs=TIME, seats=some(pattern("^[1-3]?[0-9][A-F]$"), 1, 3)),
    "weather": obj(city=text(30), celsius=number("number", -60, 60), wind=obj(speed=number("number", 0, 120), direction=one_of("N", "E", "S", "W")), conditions=some(one_of("rain", "snow", "sun"), 1, 2)),
    "function call": obj(name={"const": "get_weather"}, arguments=obj(city=text(30), unit=one_of("celsius", "fahrenheit"), optional="unit")),
    "tool choice": {"anyOf": [
        obj(tool={"const": "search"}, query=text(60)),
        obj(tool={"const": "calculate"}, expression=pattern("^[0-9+*/ ()-]{1,30}$")),
        obj(tool={"const": "answer"}, text=text(100)),
    ]},
    "classification": obj(label=one_of("spam", "ham"), confidence=number("number", 0, 1)),
    "sentiment": obj(sentiment=one_of("positive", "neutral", "negative"), reasons=some(text(60), 0, 2)),
    "entities": obj(people=some(text(30)), places=some(text(30)), organisations=some(text(30))),
    "survey": obj(q1=number("integer", 1, 5), q2=number("integer", 1, 5), q3=nullable(text(80)), recommend=BOOL),
    "geojson point": obj(type={"const": "Point"}, coordinates={"type": "array", "prefixItems": [number("number", -180, 180), number("number", -90, 90)], "items": False, "minItems": 2}),
    "bounding box": {"type": "array", "items": number("number", -180, 180), "minItems": 4, "maxItems": 4},
    "matrix": some(some(number("integer", -9, 9), 2, 2), 2, 2),
    "colour": {"anyOf": [pattern("^#[0-9a-f]{6}$"), one_of("red", "green", "blue")]},
    "semantic version": pattern(r"^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$"),
    "package": obj(name=pattern("^[a-z][a-z0-9-]{0,20}$"), version=pattern(r"^\d{1,2}\.\d{1,2}\.\d{1,2}$"), private=BOOL, scripts={"type": "object", "additionalProperties": text(40), "maxProperties": 3}, optional="private scripts"),
    "dependencies": {"type": "object", "patternProperties": {"^[a-z]{2,10}$": pattern(r"^\^\d\.\d$")}, "additionalProperties": False, "maxProperties": 4},
    "container": obj(image=text(40), ports=some(number("integer", 1, 65535)), env=some(obj(name=pattern("^[A-Z_]{1,20}$"), value=text(30))), restart=one_of("always", "never")),
    "log line": obj(time=TIME, level=one_of("debug", "info", "warn", "error"), message=text(80), fields={"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 20}, "maxProperties": 3}),
    "address book": some(PERSON, 0, 2),
    "bank transfer": obj(iban=pattern("^DE[0-9]{20}$"), amount=number("number", 0.01, 50000), purpose=text(60), urgent=BOOL),
    "card": obj(network=one_of("visa", "amex"), last4=pattern("^[0-9]{4}$"), expires=pattern("^(0[1-9]|1[0-2])/[0-9]{2}$")),
    "patient": obj(id=pattern("^P[0-9]{6}$"), born=DATE, blood=one_of("A+", "A-", "B+", "B-", "0+", "0-"), allergies=some(text(25)), weight_kg=number("number", 1, 300)),
    "measurement": obj(value=NUM, unit=one_of("m", "kg", "s"), error=nullable(number("number", 0, 10))),
    "job": obj(title=text(40), salary={"anyOf": [number("integer", 1, 500000), obj(low=INT, high=INT)]}, remote=BOOL, skills=some(text(20), 1, 4)),
    "resume": obj(basics=PERSON, work=some(obj(company=text(30), years=number("number", 0, 50)), 0, 2), languages=some(one_of("en", "de", "fr"), 1, 3)),
    "quiz": obj(question=text(80, 5), choices={"type": "array", "items": text(30), "minItems": 3, "maxItems": 3}, answer=number("integer", 0, 2)),
    "chess move": pattern("^[KQRBN]?[a-h]?[1-8]?x?[a-h][1-8](=[QRBN])?[+#]?$"),
    "time slot": obj(day=one_of("mon", "tue", "wed"), start=pattern("^([01][0-9]|2[0-3]):[0-5][0-9]$"), minutes={"type": "integer", "multipleOf": 15, "minimum": 15, "maximum": 240}),
    "network": obj(ip={"type": "string", "format": "ipv4"}, host={"type": "string", "format": "hostname", "maxLength": 30}, port=number("integer", 1, 65535)),
    "duration": {"type": "string", "format": "duration"},
    "feature flags": {"type": "object", "additionalProperties": BOOL, "maxProperties": 4},
    "translation": obj(source=text(60), target=text(60), language=pattern("^[a-z]{2}$")),
    "summary": obj(title=text(40), bullets=some(text(80), 2, 3), words=number("integer", 1, 500)),
    "tree": {"$ref": "#/$defs/node", "$defs": {"node": obj(value=number("integer", 0, 9), left=nullable({"$ref": "#/$defs/node"}), right=nullable({"$ref": "#/$defs/node"}))}},
    "linked list": {"$ref": "#/$defs/cell", "$defs": {"cell": obj(head=number("integer", 0, 9), tail=nullable({"$ref": "#/$defs/cell"}))}},
    "comment thread": {"$defs": {"comment": obj(by=text(15), text=text(40), replies=some({"$ref": "#/$defs/comment"}, 0, 2))}, "$ref": "#/$defs/comment"},
    "arithmetic": {"$defs": {"term": {"anyOf": [number("integer", 0, 99), obj(op=one_of("+", "*"), args=some({"$ref": "#/$defs/term"}, 2, 2))]}}, "$ref": "#/$defs/term"},
    "file system": {"$defs": {"entry": {"anyOf": [obj(kind={"const": "file"}, name=text(12), bytes=number("integer", 0, 9999)), obj(kind={"const": "folder"}, name=text(12), entries=some({"$ref": "#/$defs/entry"}, 0, 2))]}}, "$ref": "#/$defs/entry"},
    "shape": {"oneOf": [obj(circle=obj(radius=number("number", 0, 100))), obj(square=obj(side=number("number", 0, 100)))]},
    "payment": {"oneOf": [obj(kind={"const": "card"}, number=pattern("^[0-9]{16}$")), obj(kind={"const": "cash"}, paid=BOOL)]},
    "merged": {"allOf": [{"type": "object", "properties": {"id": number("integer", 1, 99)}, "required": ["id"]}, {"type": "object", "properties": {"name": text(20)}, "required": ["name"]}]},
    "open object": obj(closed=False, name=text(20), kind=one_of("a", "b")),
    "with defaults": obj(retries={**number("integer", 0, 9), "default": 3}, verbose={**BOOL, "default": False}, optional="retries verbose"),
    "draft 4": {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object", "properties": {"ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1}}, "required": ["ratio"], "additionalProperties": False},
    "draft 7": {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"id": pattern("^[0-9a-f]{8}$")}, "type": "object", "properties": {"id": {"$ref": "#/definitions/id"}}, "required": ["id"], "additionalProperties": False},
    "empty object": {"type": "object", "additionalProperties": False},
    "constant": {"const": {"a": [1, None, "x"]}},
    "unicode": obj(名前=text(10), été=one_of("août", "juillet", "日")),
    "escapes": one_of('say "hi"', "back\\slash", "line\nbreak", "tab\t"),
    "nothing said": {},
    "any list": {"type": "array", "maxItems": 2},
    # Enforced by validation afterwards, since a grammar cannot.
    "set of tags": {**some(one_of("a", "b", "c", "d"), 2, 3), "uniqueItems": True},
    "not a word": {**text(20, 1), "not": {"enum": ["null", "none"]}},
    "conditional": {**obj(country=one_of("US", "DE"), zip=text(8), optional="zip"), "if": {"properties": {"country": {"const": "US"}}}, "then": {"required": ["zip"]}},
    "contains a one": {**some(number("integer", 0, 3), 2, 3), "contains": {"const": 1}},
    "both or none": {**obj(card=text(20), expires=DATE, optional="card expires"), "dependentRequired": {"card": ["expires"]}},
    "named keys": {"type": "object", "additionalProperties": INT, "propertyNames": {"maxLength": 4}, "maxProperties": 2},
    "a regular expression": {"type": "string", "format": "regex", "maxLength": 10},
    # Rejected: neither a grammar nor validation could enforce these.
    "look-ahead": pattern("^(?=.*[0-9])[a-z0-9]{8}$"),
    "look-behind": pattern("(?<=a)b"),
    "back reference": pattern(r"^(a|b)\1$"),
    "word boundary": pattern(r"\bfoo\b"),
    "elsewhere": {"$ref": "https://json.schemastore.org/package.json"},
    "a file": {"type": "array", "items": {"$ref": "other.json#/item"}},
    "missing definition": {"$ref": "#/$defs/none"},
    "unknown format": {"type": "string", "format": "postal-code"},
    "web address": {"type": "string", "format": "iri-reference-template"},
    "wrong type": {"type": "strnig"},
    "wrong limits": number("integer", 5, 3),
    "no choice": {"enum": []},
    "contradiction": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "itself": {"$ref": "#"},
    "wrong pattern": pattern("(["),
}  # fmt: skip


def schemas(count: int, seed: int = 1) -> Iterator[tuple[str, Schema]]:
    """Yield `count` named schemas: those written by hand first, then random variations."""
    yield from list(BY_HAND.items())[:count]
    chance = random.Random(seed)
    for index in range(count - len(BY_HAND)):
        yield f"made {index}", _made(chance, depth=chance.choice([1, 2, 2, 3]))


def _made(chance: random.Random, depth: int) -> Schema:
    if depth == 0:
        return _leaf(chance)
    kind = chance.choices(["object", "array", "union", "map", "by hand"], [10, 4, 3, 1, 4])[0]
    if kind == "array":
        least = chance.randrange(3)
        return some(_made(chance, depth - 1), least, least + chance.randrange(1, 3))
    if kind == "union":
        return {"anyOf": [_made(chance, depth - 1) for _ in range(chance.randrange(2, 4))]}
    if kind == "map":
        return {"type": "object", "additionalProperties": _leaf(chance), "maxProperties": 3}
    if kind == "by hand":
        return chance.choice([PERSON, ADDRESS, MONEY, BY_HAND["colour"], BY_HAND["time slot"]])
    names = chance.sample(_NAMES, chance.randrange(1, 6))
    optional = " ".join(name for name in names if chance.random() < 0.2)
    properties = {name: _made(chance, depth - 1) for name in names}
    return obj(optional=optional, closed=chance.random() < 0.7, **properties)


_NAMES = [
    "id",
    "name",
    "title",
    "status",
    "kind",
    "value",
    "count",
    "total",
    "price",
    "date",
    "author",
    "owner",
    "tags",
    "notes",
    "lang",
    "size",
    "width",
    "level",
    "score",
    "items",
    "parent",
    "enabled",
    "path",
    "host",
    "port",
]


def _leaf(chance: random.Random) -> Schema:
    low = chance.randrange(-50, 50)
    return chance.choice(
        [
            text(chance.choice([5, 20, 60])),
            text(30, chance.randrange(1, 6)),
            number("integer", low, low + chance.randrange(1, 200)),
            number("number", low, low + chance.randrange(1, 200)),
            {"type": "integer", "multipleOf": chance.randrange(2, 12), "minimum": 0, "maximum": 999},
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            BOOL,
            DATE,
            TIME,
            EMAIL,
            UUID,
            {"type": ["string", "null"], "maxLength": 12},
            {"const": chance.choice(["x", 7, None, True])},
            one_of(*chance.sample(_NAMES, 3)),
            one_of(*chance.sample(range(99), 3)),
            pattern(chance.choice(["^[a-z]{1,8}$", r"^\d{3}-\d{4}$", "^(yes|no|maybe)$", "[aeiou]{2}"])),
        ]
    )  # fmt: skip
