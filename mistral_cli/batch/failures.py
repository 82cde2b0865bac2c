"""Failed rows, grouped by kind of failure, and the table of them that is printed at the end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from mistral_cli.system.controls import on_one_line

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record

_NUMBER = re.compile(r"\d[\d,.]*")
_MAX_KINDS, _MOST_KINDS = 10, 1000  # shown, counted
_ID_WIDTH, _MESSAGE_WIDTH = 32, 100


def is_failed(record: Record) -> bool:
    """Return whether the row has an error instead of an answer."""
    return bool(record.get("error"))


def message_of(record: Record) -> str:
    """Return the error message of a failed row."""
    return str(_error(record).get("message") or "no message")


def hint_of(record: Record) -> str:
    """Return the next step for a failed row, or an empty string."""
    return str(_error(record).get("hint") or "")


def code_of(record: Record) -> Any:
    """Return the exit code that a single call would have had for the failure."""
    return _error(record).get("code")


def group_failures(records: Iterable[Record]) -> list[list[Record]]:
    """Group the failed rows by kind of failure, largest group first.

    Messages that differ only in numbers and in the row's name are one kind, such as
    "a.txt: 5,120 tokens" and "b.txt: 7,333 tokens".
    """
    groups: dict[tuple[Any, str], list[Record]] = {}
    for record in filter(is_failed, records):
        groups.setdefault((code_of(record), _kind(record)), []).append(record)
    return sorted(groups.values(), key=len, reverse=True)


class FailureCounts:
    """Counts the failed rows of each kind, and keeps the first."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Any, str], tuple[int, Record]] = {}
        self._others = 0  # of kinds that were dropped

    def add(self, record: Record) -> None:
        """Count a record, if its row failed."""
        if is_failed(record):
            kind = code_of(record), _kind(record)
            count, first = self._kinds.get(kind, (0, _brief(record)))
            self._kinds[kind] = count + 1, first
            if len(self._kinds) > _MOST_KINDS:
                self._drop_rare()

    def table(self) -> list[str]:
        """Return lines with one row of each kind and its message, for ten kinds at most."""
        kinds = sorted(self._kinds.values(), key=lambda kind: kind[0], reverse=True)
        listed = kinds[:_MAX_KINDS]
        ids = [_in_a_line(str(first.get("id", ""))) for _, first in listed]
        width = min(max(map(cell_len, ids), default=0), _ID_WIDTH)
        lines: list[str] = []
        for name, (count, first) in zip(ids, listed, strict=True):
            message = _truncated(_beside(name, _in_a_line(message_of(first))), _MESSAGE_WIDTH)
            lines.append(f"{set_cell_size(_end_of(name, width), width)}  {message}")
            if count > 1:
                lines.append(f"{'':{width}}  … and {count - 1:,} more: the same")
        if rest := self._others + sum(count for count, _ in kinds[_MAX_KINDS:]):
            lines.append(f"… and {rest:,} more failed rows, for other reasons")
        return lines

    def _drop_rare(self) -> None:
        """Keep half of the kinds, the most frequent: a million rows may each fail differently."""
        kinds = sorted(self._kinds.items(), key=lambda kind: kind[1][0], reverse=True)
        self._kinds = dict(kinds[: _MOST_KINDS // 2])
        self._others += sum(count for _, (count, _) in kinds[_MOST_KINDS // 2 :])


def _brief(record: Record) -> Record:
    """Return the part of a record that the table shows."""
    return {key: record.get(key) for key in ("id", "source", "error")}


def _kind(record: Record) -> str:
    kind = _NUMBER.sub("0", message_of(record))
    for key in ("id", "source"):
        name = _NUMBER.sub("0", str(record.get(key) or ""))
        if name and name in kind:  # whole words only: a short id may occur inside other words
            kind = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "0", kind)
    return kind


def _error(record: Record) -> Mapping[str, Any]:
    error = record.get("error")
    return error if isinstance(error, Mapping) else {"message": error}


def _in_a_line(text: str) -> str:
    return on_one_line(" ".join(text.split()))


def _beside(name: str, message: str) -> str:
    """Return `message` for a line that begins with the row's `name`, without repeating it."""
    rest = message.removeprefix(name)
    return rest.lstrip(": ") if rest.startswith((": ", " ")) else message


def _end_of(text: str, width: int) -> str:
    """Shorten a name from the left: the end of a path distinguishes it from others."""
    start = 0
    while cell_len(text[start:]) > width - bool(start):
        start += 1
    return f"…{text[start:]}" if start else text


def _truncated(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"
