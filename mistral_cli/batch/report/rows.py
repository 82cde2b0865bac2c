"""The result lines of a batch → the lines of its page, and its failures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.batch import failures
from mistral_cli.errors import ExitCode
from mistral_cli.system.wrap import without_controls

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record

_PREVIEW = 160
_NAME = 300


@dataclass(frozen=True)
class Row:
    """One line of the page's table."""

    number: int
    id: str
    source: str
    status: str
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
    def opens(self) -> bool:
        """Whether there is more to say than the line itself does."""
        return bool(self.text or self.message or self.hint or self.warnings)


@dataclass(frozen=True)
class Group:
    """Rows that failed alike."""

    message: str
    hint: str
    reason: str
    rows: Sequence[Row]


def table_row(place: int, record: Record, limit: int) -> Row:
    """The row at `place` (from 1), its text at most `limit` characters long."""
    failed = failures.is_failed(record)
    cut = not failed and record.get("finish_reason") == "length"
    answer = _answer(record)
    message = _shown(failures.message_of(record)) if failed else ""
    timings = timings_of(record)
    parts = [number(timings.get(key)) for key in ("prompt_seconds", "generation_seconds")]
    measured = [seconds for seconds in parts if seconds is not None]
    return Row(
        number=place,
        id=_name(record.get("id")),
        source=_name(record.get("source")),
        status="failed" if failed else "cut" if cut else "done",
        prompt_tokens=whole(record.get("prompt_tokens")),
        answer_tokens=whole(record.get("completion_tokens")),
        seconds=sum(measured) if measured else None,
        preview=" ".join((message or answer)[: 4 * _PREVIEW].split())[:_PREVIEW],
        message=message[:limit],
        text=answer[:limit],
        left_out=max(len(answer) - limit, 0),
        is_data=record.get("text") is None,
        hint=_shown(failures.hint_of(record)),
        warnings=[_shown(warning) for warning in record.get("warnings") or ()],
    )


def _name(value: Any) -> str:
    name = _shown(value)
    return name if len(name) <= _NAME else name[:_NAME] + "…"


def _answer(record: Record) -> str:
    if record.get("text") is not None:
        return _shown(record["text"])
    if "data" in record and not (record["data"] is None and failures.is_failed(record)):
        return _shown(json.dumps(record["data"], ensure_ascii=False, indent=2, default=str))
    return ""


def failure_groups(records: Sequence[Record], rows: Sequence[Row]) -> list[Group]:
    """What failed, rows that failed alike together; `rows` are those of `records`."""
    row_of = {id(record): row for record, row in zip(records, rows, strict=True)}
    return [
        Group(
            _shown(failures.message_of(group[0])),
            _shown(failures.hint_of(group[0])),
            _reason(failures.code_of(group[0])),
            [row_of[id(record)] for record in group],
        )
        for group in failures.group_failures(records)
    ]


def _reason(code: Any) -> str:
    try:
        return f"exit code {code}: {ExitCode(code).meaning}"
    except ValueError:
        return ""


def timings_of(record: Record) -> Record:
    """The seconds of the row's parts, if it has any."""
    timings = record.get("timings")
    return timings if isinstance(timings, Mapping) else {}


def number(value: Any) -> float | None:
    """`value` if a quantity can have it: a result file may have been edited by hand."""
    usable = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return float(value) if usable else None


def whole(value: Any) -> int | None:
    """`value` as a count, if it is one."""
    counted = number(value)
    return None if counted is None else int(counted)


def _shown(value: Any) -> str:
    return without_controls("" if value is None else str(value))
