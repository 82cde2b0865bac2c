"""Which column of a record is the text, and which its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mistral_cli.errors import UsageError

_ID = "id"


@dataclass(frozen=True)
class Columns:
    """The columns' names; without `id` it is "id" where a record has that."""

    text: str
    id: str | None

    def check(self, header: Sequence[str], name: str) -> None:
        """Raise UsageError if the table `name` lacks one; a table without a header has no rows."""
        for column in filter(None, (self.text, self.id)):
            if header and column not in header:
                raise UsageError(
                    f"{name} has no column {column!r}; it has {_listed(header)}",
                    hint="Name the columns with --text-field and --id-field.",
                )

    def id_of(self, record: Mapping[str, Any], where: str) -> str:
        """The id; `where` the record stands if none is needed. Raises UsageError."""
        cell = record.get(self.id or _ID)
        if self.id is None and cell in (None, ""):
            return where
        if not (identity := _as_text(cell)):
            raise UsageError(
                f"{where} has no id in {self.id or _ID!r}", hint="It must be a text or a number."
            )
        return identity

    def text_of(self, record: Mapping[str, Any], where: str) -> str:
        """The text. Raises UsageError."""
        if self.text not in record:
            raise UsageError(
                f"{where} has no {self.text!r}; it has {_listed(record)}",
                hint="Name the text's field with --text-field.",
            )
        text = _as_text(record[self.text])
        if text is None:
            raise UsageError(f"{where}: {self.text!r} is no text", hint="Write it as a string.")
        return text


def scalars(record: Mapping[str, Any]) -> dict[str, str]:
    """Everything in a record that is no list or object, as text; null is empty."""
    texts = {name: "" if cell is None else _as_text(cell) for name, cell in record.items()}
    return {name: text for name, text in texts.items() if text is not None}


def _as_text(cell: Any) -> str | None:
    """A scalar as JSON writes it, a string as it is; None for anything else."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell) if isinstance(cell, int | float) else None


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "nothing"
