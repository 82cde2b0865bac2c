"""The columns of a table or JSON object: which is the text, which the id, and the others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.texts.tabular import ParsedRow

_ID = "id"
_ONLY_TEXTS = {str}


class TypedTable(NamedTuple):
    """A table whose values have types: its header, its rows, and how much of it has been read."""

    header: Sequence[str]
    rows: Iterator[ParsedRow]
    part: Callable[[], float | None]

    @property
    def fraction(self) -> float | None:
        """The part that has been read, from 0 to 1; None if that is unknown."""
        return self.part()


def check_names(names: Sequence[str], source: str, hint: str) -> None:
    """Raise UsageError if two columns have the same name."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"{source} names the column {twice!r} twice", hint=hint)


def as_cell(value: Any) -> Any:
    """Return a value as a table of text would have it; None for bytes that are not text.

    Null is empty, lists and objects are JSON, and dates are as ISO 8601 writes them.
    """
    if value is None:
        return ""
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@dataclass(frozen=True)
class Columns:
    """The columns' names. Without `id`, the column "id" is used if there is one.

    `expected` has the known answer, or columns named `expected.NAME` have its fields.
    """

    text: str
    id: str | None
    expected: str | None = None

    def check(self, header: Sequence[str], name: str) -> None:
        """Raise UsageError if the table `name` has a header that lacks one of the columns."""
        for column in filter(None, (self.text, self.id)):
            if header and column not in header:
                raise UsageError(
                    f"{name} has no column {column!r}; it has {_quoted(header)}",
                    hint="Name the columns with --text-field and --id-field. If the table has no "
                    "header, add --no-header: its columns are 1, 2, 3 and so on.",
                )

    def plain(self, values: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return the id and the text where both are strings, as `id_of` and `text_of` do."""
        row_id, text = values.get(self.id or _ID), values.get(self.text)
        if row_id and isinstance(row_id, str) and isinstance(text, str):
            return row_id, text
        return None

    def id_of(self, values: Mapping[str, Any], where: str) -> str:
        """Return the id, or `where` the row stands if it has none and `id` names no column."""
        value = values.get(self.id or _ID)
        if self.id is None and value in (None, ""):
            return where
        if not (row_id := _as_text(value)):
            raise UsageError(
                f"{where} has no id in {self.id or _ID!r}", hint="It must be a string or a number."
            )
        return row_id

    def text_of(self, values: Mapping[str, Any], where: str) -> str:
        """Return the text. Raises UsageError."""
        if self.text not in values:
            raise UsageError(
                f"{where} has no {self.text!r}; it has {_quoted(values)}",
                hint="Name the text's field with --text-field.",
            )
        text = _as_text(values[self.text])
        if text is None:
            raise UsageError(
                f"{where}: {self.text!r} is not a string", hint="Write the text as a JSON string."
            )
        return text

    def expected_of(self, values: Mapping[str, Any]) -> Any:
        """Return the known answer, or None if there is none."""
        if self.expected is None or self.expected in values:
            return values.get(self.expected or "")
        start = f"{self.expected}."
        named = {name: value for name, value in values.items() if name.startswith(start)}
        return {name.removeprefix(start): value for name, value in named.items()} or None


def scalar_fields(values: Mapping[str, Any]) -> Mapping[str, str]:
    """Return all values that are not lists or objects, as text; null is empty."""
    if {*map(type, values.values())} == _ONLY_TEXTS:
        return values
    texts = {name: "" if value is None else _as_text(value) for name, value in values.items()}
    return {name: text for name, text in texts.items() if text is not None}


def _as_text(value: Any) -> str | None:
    """Return a string as it is and another scalar as JSON writes it; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
