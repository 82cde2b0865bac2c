"""Keys of an object that a schema describes but does not name → the terminals that admit them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.errors import UsageError
from mistral_cli.structured.grammar import as_text
from mistral_cli.structured.grounding.terminals import admits_something, read, terminals_of

if TYPE_CHECKING:
    from mistral_cli.structured.schema import Schema

_MAX_LENGTH = 64  # characters of a key that the schema does not name
# JSON writes all other characters as they are, so that a pattern sees the key itself.
_PLAIN = rf'/[^"\\\x00-\x1f\x7f]{{0,{_MAX_LENGTH}}}/'

_ANYTHING = "/(?s:.*)/"


@dataclass(frozen=True)
class FreeKey:
    """Keys that the model may choose: their terminal, and the schema of their values."""

    terminal: str
    values: Any


def free_keys(schema: Schema, unenforced: set[str]) -> Iterator[FreeKey]:
    """Yield the kinds of keys that `schema` describes but does not name, none in two kinds.

    Properties in `once` are such keys that have a place of their own. `unenforced` gets what the
    terminals cannot express. Raises UsageError for a pattern that cannot be read.
    """
    patterns: Mapping[str, Any] = schema.get("patternProperties", {})
    taken = _excluded(schema.get("properties", {}))
    named = schema.get("properties", {}).keys() - schema.get("once", ())
    # An object that describes some of its properties gets no others.
    others = schema.get("additionalProperties", not (patterns or named))
    if named or (patterns and others is True):
        others = False
    names = schema.get("propertyNames", True)
    common = _matching(_patterns_of(names, unenforced), unenforced)
    for pattern, values in patterns.items():
        overlapping = [p for p, each in patterns.items() if p != pattern and each is not values]
        yield from _kind([*common, *_matching([pattern], unenforced),
                          *_not_matching(overlapping, unenforced), *taken], values)  # fmt: skip
    yield from _kind([*common, *_not_matching([*patterns], unenforced), *taken], others)


def _kind(conditions: list[str], values: Any) -> Iterator[FreeKey]:
    if values is not False:
        terminal = f'"\\"" ({" & ".join([_PLAIN, *conditions])}) "\\""'
        # One that is too complex to tell, such as all keys but those of `.*`, is left out.
        with contextlib.suppress(UsageError):
            if admits_something(terminal):
                yield FreeKey(terminal, values)


def _patterns_of(names: Any, unenforced: set[str]) -> list[str]:
    """Return the patterns that `propertyNames` asks of each key."""
    if not isinstance(names, dict):
        return []
    if names.keys() - {"type", "pattern"}:
        unenforced.add("propertyNames")
    return list(names.get("pattern", ()))


def _matching(patterns: list[str], unenforced: set[str]) -> list[str]:
    """Return the terminals that keys which match all of `patterns` satisfy."""
    return [text for pattern in patterns for text in _regexes(pattern, unenforced)]


def _not_matching(patterns: list[str], unenforced: set[str]) -> list[str]:
    """Return the terminals that keys which match none of `patterns` satisfy."""
    regexes = [_regexes(pattern, unenforced) for pattern in patterns]
    return [f"~({' & '.join(each) or _ANYTHING})" for each in regexes]


def _excluded(names: Collection[str]) -> list[str]:
    return [f"~({' | '.join(as_text(name) for name in names)})"] if names else []


def _regexes(pattern: str, unenforced: set[str]) -> list[str]:
    if not read(pattern).exact:
        unenforced.add("patternProperties")
    return terminals_of(pattern)
