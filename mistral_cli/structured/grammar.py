"""A schema → a grammar in llguidance's dialect of Lark, which constrains both engines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mistral_cli.structured.denials import without_denials
from mistral_cli.structured.enforceable import ASSERTIONS, Enforceable, Relaxation
from mistral_cli.structured.schema import Schema, bad_schema, validator

# Without these a weak model fills its answer with whitespace. `lenient` leaves unsupported
# keywords out of the grammar: `check_grammar` lists them, and validation enforces them.
GUIDANCE = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,
}

_WALK = 500  # bytes
_CLOSING = 1 << ord("]")
_BYTES = (1 << 256) - 1

_ONE_OF = "oneOf, where more than one part may match"

_DEFINITIONS = ("$defs", "definitions")
_SCHEMAS = ("anyOf", "oneOf", "prefixItems", "items", "additionalProperties")
_COMBINING = {"allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "$recursiveRef"}
_COMBINING |= {"not", "if", "enum", "const", "dependentSchemas", "dependencies"}
_COMBINING |= {"dependentRequired", "unevaluatedProperties"}
_MORE_PROPERTIES = {"additionalProperties", "patternProperties", "minProperties"}


@dataclass(frozen=True)
class Compiled:
    """A grammar, the keywords that it leaves to validation, and formats that nothing checks."""

    text: str
    unenforced: tuple[str, ...]
    unchecked: tuple[str, ...]


def json_grammar(schema: Schema, *, many: bool) -> str:
    """Return a grammar that admits only values of `schema` or, with `many`, lists of them.

    An object that names its properties may have no others, although JSON Schema would allow
    them: a weak model keeps inventing keys. Where several schemas apply to the same object, it
    stays open. Raises UsageError for a schema that no grammar can enforce.
    """
    return compile_schema(schema, many=many).text


def compile_schema(
    schema: Schema, *, many: bool, once: tuple[str, ...] = (), most: int | None = None
) -> Compiled:
    """Make the grammar of `schema`. Raises UsageError if it cannot be enforced.

    An object may have the keys `once` at most once, also where the schema leaves keys open: no
    grammar can say that of all keys. A string with a pattern or a format may have `most`
    characters.
    """
    try:
        return _compiled(json.dumps(schema), many, once, most)
    except RecursionError as error:
        raise bad_schema("it is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise bad_schema(str(error)) from error


@lru_cache(maxsize=8)  # requests repeat their schema
def _compiled(schema: str, many: bool, once: tuple[str, ...], most: int | None) -> Compiled:
    import llguidance

    source = json.loads(schema)
    closed, relaxation = _closed(without_denials(source)), Relaxation()
    while True:
        part = Enforceable(closed, relaxation, once, most)
        text = _lark(part.schema, many)
        error, limit = _tried(text)
        if relaxation.go_on(error or limit, part):
            continue
        if error:
            raise bad_schema(_reason(error))
        break  # `check_grammar` reports a limit
    warned: list[str] = []
    if '"oneOf"' in text:  # llguidance needs seconds for the largest grammars, and knows more here
        _, warned = llguidance.LLMatcher.validate_grammar_with_warnings(text)
    notes = [*part.notes, *(note.partition(" (")[0] for note in warned)]
    formats = validator(source).format_checker.checkers
    unchecked = {name for name in part.formats if name not in formats}
    checked = (f"the format {name}" for name in part.formats - unchecked)
    unenforced = {_ONE_OF if note.startswith("oneOf") else note for note in (*notes, *checked)}
    return Compiled(text, tuple(sorted(unenforced)), tuple(sorted(unchecked)))


def _lark(schema: Schema, many: bool) -> str:
    start = list_of("item") if many else "item"
    item = json.dumps({**schema, "x-guidance": GUIDANCE})
    return f"%llguidance {{}}\nstart: {start}\nitem: %json {item}\n"


def as_text(value: Any) -> str:
    """Write `value` as JSON; a grammar quotes its strings in the same way."""
    return json.dumps(value, ensure_ascii=False)


def list_of(
    item: str, min_items: int = 0, max_items: int | None = None, brackets: str = "[]"
) -> str:
    """Return the expression of a JSON array (or object) whose items match the rule `item`."""
    opening, closing = [*brackets]
    if max_items == 0:
        return f'"{brackets}"'
    upper_bound = "" if max_items is None else int(max_items) - 1
    others = f'(", " {item}){{{max(min_items - 1, 0)},{upper_bound}}}'
    filled = f'"{opening}" {item} {"" if max_items == 1 else others} "{closing}"'
    return f'({filled} | "{brackets}")' if min_items == 0 else filled


def check_grammar(grammar: str) -> None:
    """Raise UsageError for a grammar that cannot be compiled, or exceeds a limit."""
    error, limit = _tried(grammar)
    if error:
        raise bad_schema(_reason(error))
    if limit:
        raise bad_schema(f"it is too large to enforce, or no finite value matches it: {limit}")


def limit_exceeded(grammar: str) -> str:
    """Name the limit of llguidance that `grammar` exceeds as it begins; "" if it stays within."""
    error, limit = _tried(grammar)
    return error or limit


@lru_cache(maxsize=8)  # requests repeat their schema, and the walks take 30 ms
def _tried(grammar: str) -> tuple[str, str]:
    """Return why llguidance cannot compile `grammar`, and the limit that it exceeds as it begins.

    A grammar that compiles can still fail at some token, and llama.cpp then goes on without it.
    One walk takes the shortest strings and lists and every property, the other goes as deep as it
    can, so that they meet most parts of a schema.
    """
    import llguidance

    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0)
    if matcher.is_error():
        return str(matcher.get_error()), ""
    for preferred in (b'"]', b'{["]'):
        matcher.reset()
        _walk(matcher, preferred)
        if matcher.is_error():
            break
    return "", str(matcher.get_error()).partition("\n")[0].partition(";")[0]


def _walk(matcher: Any, preferred: bytes) -> None:
    """Feed up to _WALK bytes to `matcher`, each the first that is `preferred` and allowed."""
    last = None
    for _ in range(_WALK):
        allowed = int.from_bytes(matcher.compute_bitmask(), "little") & _BYTES
        if matcher.is_error() or matcher.is_stopped():
            return
        if last == ord("[") and allowed != _CLOSING:  # no empty list
            allowed &= ~_CLOSING
        lowest = (allowed & -allowed).bit_length() - 1
        last = next((byte for byte in preferred if allowed >> byte & 1), lowest)
        matcher.consume_token(last)


def _reason(report: str) -> str:
    """Pick the line that matters from llguidance's report, which quotes the whole grammar."""
    first, *others = report.splitlines()
    if errors := [line for line in others if line.startswith("error: ")]:
        return f"{errors[0].removeprefix('error: ')}: {others[0].strip()}"
    return first.partition("failed to compile JSON schema: ")[2] or first


def _closed(schema: Schema) -> Schema:
    """Forbid unnamed properties in every object that only one part of `schema` describes."""
    closed: Schema = _close(schema)
    if not any(_refers_beside_others(schema)):
        for key in schema.keys() & {*_DEFINITIONS}:
            if isinstance(schema[key], dict):
                closed[key] = {name: _close(inner) for name, inner in schema[key].items()}
    return closed


def _close(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    if len(schema.keys() & ASSERTIONS) > 1 and not _COMBINING.isdisjoint(schema):
        return result  # each part would forbid the properties that the others name
    if isinstance(schema.get("properties"), dict):
        result["properties"] = {n: _close(inner) for n, inner in schema["properties"].items()}
    for key in schema.keys() & {*_SCHEMAS}:
        value = schema[key]
        result[key] = [*map(_close, value)] if isinstance(value, list) else _close(value)
    named, required = schema.get("properties", {}), schema.get("required", [])
    if named and _MORE_PROPERTIES.isdisjoint(schema) and named.keys() >= {*required}:
        result["additionalProperties"] = False
    return result


def _refers_beside_others(schema: Any) -> Iterator[bool]:
    """Yield, for every subschema, whether it combines a definition with other constraints."""
    if isinstance(schema, dict):
        parts = not schema.keys().isdisjoint({"$ref", "anyOf", "oneOf"})
        yield "allOf" in schema or (parts and len(schema.keys() & ASSERTIONS) > 1)
    for inner in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(inner, dict | list):
            yield from _refers_beside_others(inner)
