"""What an answer repeated, so that another attempt cannot: items of lists, keys of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cli.structured.grammar import as_text
from mistral_cli.system.strict_json import repeated_keys

if TYPE_CHECKING:
    from mistral_cli.structured.grounding.merge import MergedSchema
    from mistral_cli.structured.schema import Schema

# A string may be cut: its commas and colons do not separate values.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\],:]|[^\s"{}\[\],:]+')
_MAX_ITEMS = 50  # of one list; a loop has a few

ListPath = tuple[str | None, ...]
"""The keys that lead to a list; None stands for the items of another list."""


class NumberLiteral(str):
    """A number as the answer wrote it."""

    __slots__ = ()


@dataclass(frozen=True)
class Repetitions:
    """Values that a list may have once, by the identity of the list's schema, and such keys.

    `root` is for a list of values of the whole schema.
    """

    items: dict[int, list[Any]] = field(default_factory=dict)
    root: list[Any] = field(default_factory=list)
    keys: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.items or self.root or self.keys)


def repetitions(answer: str, merged: MergedSchema, *, many: bool) -> Repetitions:
    """Find what `answer`, which may be cut, has more than once in a list or an object."""
    found = Repetitions(keys=repeated_keys(answer))
    for path, items in _repeated_items(answer).items():
        if many and not path:
            found.root.extend(items)
            continue
        if many and path[0] is not None:
            continue
        for schema in _at(merged, merged.root, path[1:] if many else path):
            if "items" in schema:
                found.items.setdefault(id(schema), []).extend(items)
    return found


def written(value: Any) -> str:
    """Write `value` in the way in which the answer had it."""
    if isinstance(value, NumberLiteral):
        return str(value)
    if isinstance(value, dict):
        members = (f"{as_text(key)}: {written(each)}" for key, each in value.items())
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return as_text(value)


def _repeated_items(answer: str) -> dict[ListPath, list[Any]]:
    """Return the items that a list has more than once, by the path of the list.

    There are none in what is not JSON: then the engine could not enforce the grammar.
    """
    found: dict[ListPath, dict[str, None]] = {}
    try:
        for path, texts in _lists(answer):
            twice = dict.fromkeys(text for text in texts if texts.count(text) > 1)
            if twice:
                found.setdefault(path, {}).update(twice)
        return {
            path: [
                json.loads(text, parse_float=NumberLiteral, parse_int=NumberLiteral)
                for text in [*texts][:_MAX_ITEMS]
            ]
            for path, texts in found.items()
        }
    except (ValueError, RecursionError):
        return {}


@dataclass
class _Open:
    """A list or an object that is not closed yet."""

    is_list: bool
    path: ListPath
    start: int = 0  # of the item that is being read
    key: str | None = None
    items: list[str] = field(default_factory=list)


def _lists(answer: str) -> Iterator[tuple[ListPath, list[str]]]:
    """Yield each list in `answer` with the texts of its complete items, closed or cut."""
    stack: list[_Open] = []
    last = ""
    for match in _TOKEN.finditer(answer):
        token = match[0]
        top = stack[-1] if stack else None
        if top and top.is_list and token in ",]" and last not in ("[", ","):
            top.items.append(answer[top.start : match.start()].strip())
        if top and token == ",":
            top.start = match.end()
        elif top and token == ":" and not top.is_list:
            top.key = json.loads(last)
        elif token in "[{":
            path = (*top.path, None if top.is_list else top.key) if top else ()
            stack.append(_Open(token == "[", path, match.end()))
        elif top and token in "]}":
            stack.pop()
            if top.is_list:
                yield top.path, top.items
        last = token
    yield from ((each.path, each.items) for each in stack if each.is_list)


def _at(merged: MergedSchema, schema: Any, path: ListPath) -> Iterable[Schema]:
    """Yield the schemas that a value at `path` below `schema` may have."""
    seen = set[int]()
    queue = [schema]
    for each in queue:  # which grows
        if not isinstance(each, dict) or id(each) in seen:
            continue
        seen.add(id(each))
        if "$ref" in each:
            queue.append(merged.definitions[each["$ref"]])
        elif "anyOf" in each:
            queue += each["anyOf"]
        elif not path:
            yield each
        else:
            key, rest = path[0], path[1:]
            inner = each.get("items") if key is None else each.get("properties", {}).get(key)
            yield from _at(merged, inner, rest)
