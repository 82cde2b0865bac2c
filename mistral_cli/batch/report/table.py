"""Result records → the rows of the report's table, and its groups of failures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.batch import failures
from mistral_cli.batch.checks import failed_checks
from mistral_cli.errors import ExitCode
from mistral_cli.generation.summaries.cited import cited_text
from mistral_cli.system.controls import without_controls

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record

_MAX_PREVIEW = 160
_MAX_NAME = 300


@dataclass(frozen=True)
class TableRow:
    """One row of the report's table."""

    number: int
    id: str
    source: str
    status: str
    checks: str
    prompt_tokens: int | None
    answer_tokens: int | None
    seconds: float | None
    preview: str
    message: str
    text: str
    left_out: int
    is_data: bool
    hint: str
    warnings: Sequence[str]

    @property
    def is_flawed(self) -> bool:
        """True if a check of the answer failed."""
        return self.checks not in ("", "passed")

    @property
    def opens(self) -> bool:
        """True if there is more to show than the row itself does."""
        return bool(self.text or self.message or self.hint or self.warnings)


@dataclass(frozen=True)
class FailureGroup:
    """The rows that failed in one way."""

    message: str
    hint: str
    reason: str
    rows: Sequence[TableRow]


def table_row(number: int, record: Record, limit: int) -> TableRow:
    """Return the row for a record, its text cut to `limit` characters; `number` counts from 1."""
    failed = failures.is_failed(record)
    cut = not failed and record.get("finish_reason") in ("length", "closed")
    answer = _answer(record)
    message = _printable(failures.message_of(record)) if failed else ""
    timings = timings_of(record)
    parts = [quantity(timings.get(key)) for key in ("prompt_seconds", "generation_seconds")]
    measured = [seconds for seconds in parts if seconds is not None]
    return TableRow(
        number=number,
        id=_name(record.get("id")),
        source=_name(record.get("source")),
        status="failed" if failed else "cut" if cut else "done",
        checks=_checks(record),
        prompt_tokens=count(record.get("prompt_tokens")),
        answer_tokens=count(record.get("completion_tokens")),
        seconds=sum(measured) if measured else None,
        preview=" ".join((message or answer)[: 4 * _MAX_PREVIEW].split())[:_MAX_PREVIEW],
        message=message[:limit],
        text=answer[:limit],
        left_out=max(len(answer) - limit, 0),
        is_data=record.get("text") is None,
        hint=_printable(failures.hint_of(record)),
        warnings=[_printable(warning) for warning in _list(record.get("warnings"))],
    )


def failure_groups(records: Sequence[Record], rows: Sequence[TableRow]) -> list[FailureGroup]:
    """Group the rows that failed in the same way; `rows` are those of `records`."""
    row_of = {id(record): row for record, row in zip(records, rows, strict=True)}
    return [
        FailureGroup(
            _printable(failures.message_of(group[0])),
            _printable(failures.hint_of(group[0])),
            _reason(failures.code_of(group[0])),
            [row_of[id(record)] for record in group],
        )
        for group in failures.group_failures(records)
    ]


def timings_of(record: Record) -> Mapping[str, Any]:
    """Return the record's timings, or an empty mapping."""
    timings = record.get("timings")
    return timings if isinstance(timings, Mapping) else {}


def quantity(value: Any) -> float | None:
    """Return `value` if it is a number that a quantity can have: people edit results files."""
    usable = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return float(value) if usable else None


def count(value: Any) -> int | None:
    """Return `value` as a count if it can be one."""
    number = quantity(value)
    return None if number is None else int(number)


def _checks(record: Record) -> str:
    """The names of the failed checks, "passed" if none failed, nothing if none was made."""
    names = ", ".join(map(_printable, failed_checks(record)))
    return names or ("passed" if _list(record.get("checks")) else "")


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _name(value: Any) -> str:
    name = _printable(value)
    return name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"


def _answer(record: Record) -> str:
    if record.get("text") is not None:
        return _printable(cited_text(record))
    if "data" in record and not (record["data"] is None and failures.is_failed(record)):
        return _printable(json.dumps(record["data"], ensure_ascii=False, indent=2, default=str))
    return ""


def _reason(code: Any) -> str:
    try:
        return f"exit code {code}: {ExitCode(code).meaning}"
    except ValueError:
        return ""


def _printable(value: Any) -> str:
    return without_controls("" if value is None else str(value))  # HTML may not contain them
