"""Grounded strings and numbers: which of them a text holds, and the terminals that admit them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from functools import cache, cached_property
from typing import TYPE_CHECKING

from mistral_cli.structured.grammar import as_text
from mistral_cli.structured.schema import Schema, bad_schema, validator

if TYPE_CHECKING:
    from mistral_cli.structured.text_index import Source

STRING_KEYWORDS = {"minLength", "maxLength", "pattern", "format"}
NUMBER_KEYWORDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}

# Where the validator's own check is loose ("@" makes an email address) or there is none. After
# RFC 3339 (dates and times), RFC 5321 and 1123 (addresses, host names), RFC 3986 (URIs).
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

# One character of a JSON string, as it is written there.
_CHARACTER = r"(?s:[^\\]|\\[^u]|\\u[0-9a-f]{4})"

EMPTY = '"\\"\\""'


class Leaves:
    """Expressions of grounded strings and numbers, and the terminals that they use.

    None stands for what the text cannot give. `dialect` names the draft of the schema.
    """

    def __init__(self, source: Source, dialect: Schema) -> None:
        self._source = source
        self._dialect = dialect
        self.terminals: dict[str, str] = {}

    def string(self, schema: Schema, *, nullable: bool) -> str | None:
        """Spans that satisfy `schema`; with no null in their place, the empty text may do."""
        form = schema.get("format")
        if form is not None and form not in _FORMATS:
            raise bad_schema(f"the format {form!r} cannot be grounded")
        pattern = schema.get("pattern", "")
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        may_be_empty = not (nullable or form or shortest) and bool(re.search(pattern, ""))
        spans = None
        if form is not None or "pattern" in schema:
            spans = self._spans(pattern, form, shortest, longest)
        if spans is not None:
            found = self._listed(map(as_text, spans))
        elif self._source.has_span(max(shortest, 1), longest):
            found = self._any_span(max(shortest, 1), longest)
        else:
            found = None
        return " | ".join(filter(None, [found, EMPTY if may_be_empty else None])) or None

    def number(self, schema: Schema) -> str | None:
        """The text's numbers that satisfy `schema`."""
        limits = {key: schema[key] for key in schema.keys() & NUMBER_KEYWORDS}
        held = validator({**limits, **self._dialect})
        whole = schema.get("type") == "integer"
        return self._listed(
            literal
            for literal in self._source.numbers
            if (not whole or literal.removeprefix("-").isdecimal())
            and held.is_valid(json.loads(literal))
        )

    def _any_span(self, shortest: int, longest: float) -> str:
        self.terminals.setdefault("SPAN", self._span_regex)
        self.terminals.setdefault("TRIMMED", "SPAN & /[^ ](?s:.*[^ ])?/")
        most = "" if longest == math.inf else int(longest)
        bounds = f" & /{_CHARACTER}{{{shortest},{most}}}/" if (shortest, most) != (1, "") else ""
        return self._terminal(f'"\\"" (TRIMMED{bounds}) "\\""')

    @cached_property
    def _span_regex(self) -> str:
        chunks = [as_text(chunk)[1:-1] for chunk in self._source.chunks]
        return f"%regex {as_text({'substring_chunks': chunks})}"

    @cache  # noqa: B019 - lives as long as one grammar is made
    def _spans(
        self, pattern: str, form: str | None, shortest: float, longest: float
    ) -> list[str] | None:
        """The spans that fit, or None where they are too many to list: validation decides."""
        matches = re.compile(pattern).search
        fits = re.compile(_FORMATS[form]).fullmatch if form else None
        checker = validator(self._dialect).format_checker

        def admits(text: str) -> bool:
            return (
                shortest <= len(text) <= longest
                and matches(text) is not None
                and (fits is None or fits(text) is not None)
                and (form is None or checker.conforms(text, form))
            )

        return self._source.candidates(admits, with_spaces=form is None)

    def _listed(self, literals: Iterable[str]) -> str | None:
        listed = " | ".join(map(as_text, literals))
        return self._terminal(listed) if listed else None

    def _terminal(self, expression: str) -> str:
        for name, known in self.terminals.items():
            if known == expression:
                return name
        name = f"T{len(self.terminals)}"
        self.terminals[name] = expression
        return name
