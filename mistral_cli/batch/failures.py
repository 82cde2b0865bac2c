"""Failed rows, those that failed alike put together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]

_NUMBER = re.compile(r"\d[\d,.]*")


def is_failed(record: Record) -> bool:
    """Whether the row has an error instead of an answer."""
    return bool(record.get("error"))


def message_of(record: Record) -> str:
    """What went wrong with a failed row."""
    return str(_error(record).get("message") or "no message")


def hint_of(record: Record) -> str:
    """The next step for a failed row, or nothing."""
    return str(_error(record).get("hint") or "")


def code_of(record: Record) -> Any:
    """The exit code of the failure, had it been a run of its own."""
    return _error(record).get("code")


def alike(records: Iterable[Record]) -> list[list[Record]]:
    """The failed rows in groups of one kind of failure, the largest group first.

    Messages are of one kind if they differ only in numbers and the name of the row, as
    "a.txt: 5,120 tokens" and "b.txt: 7,333 tokens" do.
    """
    groups: dict[tuple[Any, str], list[Record]] = {}
    for record in filter(is_failed, records):
        groups.setdefault((code_of(record), _kind(record)), []).append(record)
    return sorted(groups.values(), key=len, reverse=True)


def _kind(record: Record) -> str:
    kind = _NUMBER.sub("0", message_of(record))
    for key in ("id", "source"):
        name = _NUMBER.sub("0", str(record.get(key) or ""))
        if name and name in kind:  # a short one may be part of other words
            kind = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "0", kind)
    return kind


def _error(record: Record) -> Record:
    error = record.get("error")
    return error if isinstance(error, Mapping) else {"message": error}
