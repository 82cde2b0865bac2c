"""Grounded strings and numbers: those that a text contains, and the terminals that admit them."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING

from mistral_cli.structured.grammar import as_text
from mistral_cli.structured.patterns import Pattern, read_pattern
from mistral_cli.structured.schema import Schema, bad_schema, validator

if TYPE_CHECKING:
    from mistral_cli.structured.grounding.text_index import TextIndex

STRING_KEYWORDS = {"minLength", "maxLength", "pattern", "format"}
NUMBER_KEYWORDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}

# The validator's own checks are loose ("@" passes as an email address) or missing. These follow
# RFC 3339 (dates and times), RFC 5321 and 1123 (addresses, host names) and RFC 3986 (URIs).
_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?!.{{254}}){_LABEL}(\.{_LABEL})*"
FORMATS = {
    "date": r"\d{4}-\d\d-\d\d",
    "time": _TIME,
    "date-time": rf"\d{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]{_TIME}",
    "duration": r"P(?!\Z)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?",
    "email": rf"[\w!#$%&'*+/=?^`{{|}}~-]+(\.[\w!#$%&'*+/=?^`{{|}}~-]+)*@{_HOST}",
    "hostname": _HOST,
    "ipv4": r"[\d.]+",
    "ipv6": r"[\dA-Fa-f:.]+",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+",
    "uuid": r"[\dA-Fa-f-]+",
}

# One character of a JSON string, in its JSON spelling.
_CHARACTER = r"(?s:[^\\]|\\[^u]|\\u[0-9a-f]{4})"

# JSON writes all other characters as they are, so that a pattern sees the text itself.
PLAIN = r'/[^"\\\x00-\x1f\x7f]*/'

_TOKEN = re.compile(
    r"\\x\{[^}]*\}|\\.|\[[^\]]*\]|\((?:\?[a-z]*:)?|(?:\)|.)(?P<repeat>[*+]|\{\d*,\d*\})?", re.DOTALL
)

EMPTY = '"\\"\\""'


class ScalarTerminals(ABC):
    """Makes the expressions of strings and numbers, and the terminals that these use."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    @property
    def definitions(self) -> dict[str, str]:
        """The terminals: name → expression."""
        return {name: expression for expression, name in self._names.items()}

    def terminal(self, expression: str, name: str = "") -> str:
        """Return the name of the terminal that is `expression`, which is added once."""
        return self._names.setdefault(expression, name or f"T{len(self._names)}")

    @abstractmethod
    def string(self, schema: Schema, *, nullable: bool) -> str | None:
        """Return the expression of a string that satisfies `schema`; None if there is none."""

    @abstractmethod
    def number(self, schema: Schema) -> str | None:
        """Return the expression of a number that satisfies `schema`; None if there is none."""


class PlaceholderTerminals(ScalarTerminals):
    """Stands in for a text that is not known yet: it contains every string and number."""

    def string(self, schema: Schema, *, nullable: bool) -> str:  # noqa: ARG002
        """Return a placeholder. Raises UsageError for a pattern that cannot be read."""
        for pattern in schema.get("pattern", ()):
            read(pattern)
        return EMPTY

    def number(self, schema: Schema) -> str:  # noqa: ARG002
        """Return a placeholder."""
        return EMPTY


class GroundedTerminals(ScalarTerminals):
    """The strings and numbers of a text; `dialect` names the draft of the schema."""

    def __init__(self, index: TextIndex, dialect: Schema) -> None:
        super().__init__()
        self._index = index
        self._dialect = dialect

    def string(self, schema: Schema, *, nullable: bool) -> str | None:
        """Return the expression of the spans that satisfy `schema`; None if there are none.

        Where null is not allowed, the empty string may stand for a missing value.
        """
        patterns = schema.get("pattern", ())
        formats = tuple(name for name in schema.get("format", ()) if name in FORMATS)
        min_length, max_length = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        may_be_empty = not (nullable or formats or min_length) and all(
            read(pattern).matches("") for pattern in patterns
        )
        listed = None
        if formats or (patterns and not any(map(_may_backtrack, patterns))):
            listed = self._matching_spans(patterns, formats, min_length, max_length)
        if listed is not None:
            spans = self._one_of(map(as_text, listed))
        elif self._index.has_span(max(min_length, 1), max_length):
            spans = self._any_span(max(min_length, 1), max_length, patterns)
        else:
            spans = None
        return " | ".join(filter(None, [spans, EMPTY if may_be_empty else None])) or None

    def number(self, schema: Schema) -> str | None:
        """Return the expression of the numbers that satisfy `schema`; None if there are none."""
        limits = {key: schema[key] for key in schema.keys() & NUMBER_KEYWORDS}
        limits_validator = validator(limits)
        is_integer = schema.get("type") == "integer"
        return self._one_of(
            literal
            for literal in self._index.numbers
            if (not is_integer or literal.removeprefix("-").isdecimal())
            and limits_validator.is_valid(json.loads(literal))
        )

    def _any_span(
        self, min_length: float, max_length: float, patterns: tuple[str, ...]
    ) -> str | None:
        self.terminal(self._span_regex, "SPAN")
        self.terminal("SPAN & /[^ ](?s:.*[^ ])?/", "TRIMMED")
        conditions = ["TRIMMED"]
        upper = "" if max_length == math.inf else int(max_length)
        if (min_length, upper) != (1, ""):
            conditions.append(f"/{_CHARACTER}{{{int(min_length)},{upper}}}/")
        if patterns:
            conditions += [PLAIN, *(text for pattern in patterns for text in terminals_of(pattern))]
        expression = f'"\\"" ({" & ".join(conditions)}) "\\""'
        if patterns and not admits_something(expression, **self.definitions):
            return None
        return self.terminal(expression)

    @cached_property
    def _span_regex(self) -> str:
        units = [as_text(unit)[1:-1] for unit in self._index.units]
        return f"%regex {as_text({'substring_chunks': units})}"

    @cache  # noqa: B019 - the object lives only while one grammar is made
    def _matching_spans(
        self,
        patterns: tuple[str, ...],
        formats: tuple[str, ...],
        min_length: float,
        max_length: float,
    ) -> list[str] | None:
        """List the spans that match; None if there are too many, and validation must decide."""
        pattern_checks = [read(pattern).matches for pattern in patterns]
        format_checks = [re.compile(FORMATS[name]).fullmatch for name in formats]
        checker = validator(self._dialect).format_checker

        def admits(text: str) -> bool:
            return (
                min_length <= len(text) <= max_length
                and all(matches(text) for matches in pattern_checks)
                and all(matches(text) for matches in format_checks)
                and all(checker.conforms(text, name) for name in formats)
            )

        spans = self._index.candidates(admits, with_spaces=not formats)
        if spans is None or "date" not in formats:
            return spans
        return list(dict.fromkeys([*spans, *filter(admits, self._index.dates)]))

    def _one_of(self, literals: Iterable[str]) -> str | None:
        alternatives = " | ".join(map(as_text, literals))
        return self.terminal(alternatives) if alternatives else None


def read(pattern: str) -> Pattern:
    """Read a pattern of a schema. Raises UsageError for one that nothing can read."""
    try:
        return read_pattern(pattern)
    except ValueError as error:
        raise bad_schema(str(error)) from error


def terminals_of(pattern: str) -> list[str]:
    """Return the terminals that a text satisfies if `pattern` occurs in it."""
    # Each is anchored at both ends, which a terminal is by itself.
    inner = [text.removeprefix("^").removesuffix("$") for text in read(pattern).enforced]
    return [f"/{text}/" for text in inner]


def admits_something(expression: str, **definitions: str) -> bool:
    """Whether the terminal `expression`, a JSON string, matches any text.

    Raises UsageError for one that is too complex.
    """
    import llguidance

    lines = "".join(f"{name}: {each}\n" for name, each in definitions.items())
    # A grammar that admits nothing is an error, as is one that is too complex.
    grammar = f"%llguidance {{}}\nstart: K | /-/\nK: {expression}\n{lines}"
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), grammar, log_level=0)
    possible = not matcher.is_error() and sum(map(int.bit_count, matcher.compute_bitmask())) > 1
    if matcher.is_error():
        raise bad_schema(f"its patterns are too complex: {matcher.get_error().splitlines()[0]}")
    return possible


def _may_backtrack(pattern: str) -> bool:
    """Whether a search for `pattern` may take exponential time: it repeats what repeats."""
    return any(map(_repeats_repeated, terminals_of(pattern)))


def _repeats_repeated(expression: str) -> bool:
    inside = [False]  # for each open group: whether something in it repeats
    for token in _TOKEN.finditer(expression):
        repeats = bool(token["repeat"])
        if token[0].startswith("("):
            inside.append(False)
        elif token[0].startswith(")"):
            repeated = inside.pop()
            if repeated and repeats:
                return True
            inside[-1] = inside[-1] or repeated
        inside[-1] = inside[-1] or repeats
    return False
