"""Grounded strings and numbers: those that a text contains, and the terminals that admit them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Protocol

from mistral_cli.structured.grammar import as_text
from mistral_cli.structured.schema import Schema, bad_schema, validator

if TYPE_CHECKING:
    from mistral_cli.structured.text_index import TextIndex

STRING_KEYWORDS = {"minLength", "maxLength", "pattern", "format"}
NUMBER_KEYWORDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}

# The validator's own checks are loose ("@" passes as an email address) or missing. These follow
# RFC 3339 (dates and times), RFC 5321 and 1123 (addresses, host names) and RFC 3986 (URIs).
_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?!.{{254}}){_LABEL}(\.{_LABEL})*"
_FORMATS = {
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

EMPTY = '"\\"\\""'


class ScalarTerminals(Protocol):
    """Makes the expressions of strings and numbers, and the terminals that these use."""

    terminals: dict[str, str]

    def string(self, schema: Schema, *, nullable: bool) -> str | None:
        """Return the expression of a string that satisfies `schema`; None if there is none."""

    def number(self, schema: Schema) -> str | None:
        """Return the expression of a number that satisfies `schema`; None if there is none."""


class PlaceholderTerminals:
    """Stands in for a text that is not known yet: it contains every string and number."""

    def __init__(self) -> None:
        self.terminals: dict[str, str] = {}

    def string(self, schema: Schema, *, nullable: bool) -> str:  # noqa: ARG002
        """Return a placeholder. Raises UsageError if no text could ground such a string."""
        _check_format(schema)
        return EMPTY

    def number(self, schema: Schema) -> str:  # noqa: ARG002
        """Return a placeholder."""
        return EMPTY


class GroundedTerminals:
    """The strings and numbers of a text; `dialect` names the draft of the schema."""

    def __init__(self, index: TextIndex, dialect: Schema) -> None:
        self._index = index
        self._dialect = dialect
        self.terminals: dict[str, str] = {}

    def string(self, schema: Schema, *, nullable: bool) -> str | None:
        """Return the expression of the spans that satisfy `schema`; None if there are none.

        Where null is not allowed, the empty string may stand for a missing value.
        """
        format_name = _check_format(schema)
        pattern = schema.get("pattern", "")
        min_length, max_length = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        may_be_empty = not (nullable or format_name or min_length) and bool(re.search(pattern, ""))
        listed = None
        if format_name is not None or "pattern" in schema:
            listed = self._matching_spans(pattern, format_name, min_length, max_length)
        if listed is not None:
            spans = self._one_of(map(as_text, listed))
        elif self._index.has_span(max(min_length, 1), max_length):
            spans = self._any_span(max(min_length, 1), max_length)
        else:
            spans = None
        return " | ".join(filter(None, [spans, EMPTY if may_be_empty else None])) or None

    def number(self, schema: Schema) -> str | None:
        """Return the expression of the numbers that satisfy `schema`; None if there are none."""
        limits = {key: schema[key] for key in schema.keys() & NUMBER_KEYWORDS}
        limits_validator = validator({**limits, **self._dialect})
        is_integer = schema.get("type") == "integer"
        return self._one_of(
            literal
            for literal in self._index.numbers
            if (not is_integer or literal.removeprefix("-").isdecimal())
            and limits_validator.is_valid(json.loads(literal))
        )

    def _any_span(self, min_length: int, max_length: float) -> str:
        self.terminals.setdefault("SPAN", self._span_regex)
        self.terminals.setdefault("TRIMMED", "SPAN & /[^ ](?s:.*[^ ])?/")
        upper = "" if max_length == math.inf else int(max_length)
        unbounded = (min_length, upper) == (1, "")
        bounds = "" if unbounded else f" & /{_CHARACTER}{{{min_length},{upper}}}/"
        return self._terminal(f'"\\"" (TRIMMED{bounds}) "\\""')

    @cached_property
    def _span_regex(self) -> str:
        units = [as_text(unit)[1:-1] for unit in self._index.units]
        return f"%regex {as_text({'substring_chunks': units})}"

    @cache  # noqa: B019 - the object lives only while one grammar is made
    def _matching_spans(
        self, pattern: str, format_name: str | None, min_length: float, max_length: float
    ) -> list[str] | None:
        """List the spans that match; None if there are too many, and validation must decide."""
        matches_pattern = re.compile(pattern).search
        matches_format = re.compile(_FORMATS[format_name]).fullmatch if format_name else None
        checker = validator(self._dialect).format_checker

        def admits(text: str) -> bool:
            return (
                min_length <= len(text) <= max_length
                and matches_pattern(text) is not None
                and (matches_format is None or matches_format(text) is not None)
                and (format_name is None or checker.conforms(text, format_name))
            )

        return self._index.candidates(admits, with_spaces=format_name is None)

    def _one_of(self, literals: Iterable[str]) -> str | None:
        alternatives = " | ".join(map(as_text, literals))
        return self._terminal(alternatives) if alternatives else None

    def _terminal(self, expression: str) -> str:
        for name, known in self.terminals.items():
            if known == expression:
                return name
        name = f"T{len(self.terminals)}"
        self.terminals[name] = expression
        return name


def _check_format(schema: Schema) -> str | None:
    """Return the format that `schema` names, if any. Raises UsageError for an unknown one."""
    name: str | None = schema.get("format")
    if name is not None and name not in _FORMATS:
        raise bad_schema(f"the format {name!r} cannot be grounded")
    return name
