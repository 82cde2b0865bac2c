"""The results of a batch as one HTML page that needs nothing else.

Everything in a result came from a text or a model: the template escapes all of it, and the
page's Content-Security-Policy runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_cli import __version__
from mistral_cli.atomic import write_atomically
from mistral_cli.batch import charts, failures
from mistral_cli.batch.failures import Record
from mistral_cli.batch.progress import duration
from mistral_cli.errors import ExitCode
from mistral_cli.output.wrap import without_controls

_LONGEST, _SHORTEST = 4000, 200  # characters of one row's text
_ALL_TEXTS = 8_000_000  # characters: a browser must still open the page
_PREVIEW = 160
_NAME = 300
_LISTED_GROUPS, _LISTED_ROWS = 50, 20


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


def write_report(
    path: Path,
    records: Sequence[Record],
    facts: Mapping[str, str],
    started_at: float | None = None,
) -> None:
    """Write the page about `records`, the result lines of a batch, to `path`.

    `facts` stand at its head, as label and value; the one called "output" is named where a
    text is not shown whole. `started_at` is in seconds since the epoch. Raises OSError.
    """
    page = _render(records, facts, started_at)
    # A lone surrogate, which JSON can bring, is no character that a file can hold.
    write_atomically(path, page.encode("utf-8", "replace"))


def _render(records: Sequence[Record], facts: Mapping[str, str], started_at: float | None) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "decimal": _decimal}
    limit = max(_SHORTEST, min(_LONGEST, _ALL_TEXTS // max(len(records), 1)))
    rows = [_row(number, record, limit) for number, record in enumerate(records, 1)]
    return environment.get_template("report.html").render(
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        rows=rows,
        groups=_groups(records, rows),
        facts=facts,
        output=next((v for k, v in facts.items() if k.lower() == "output"), "the output file"),
        started=started_at and time.localtime(started_at),
        strftime=time.strftime,
        charts=_charts(records),
        listed_groups=_LISTED_GROUPS,
        listed_rows=_LISTED_ROWS,
        version=__version__,
        **_totals(records, rows),
    )


def _csp_hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"sha256-{digest}"


def _row(number: int, record: Record, limit: int) -> Row:
    failed = failures.is_failed(record)
    cut = not failed and record.get("finish_reason") == "length"
    answer = _answer(record)
    message = _shown(failures.message_of(record)) if failed else ""
    timings = _timings(record)
    parts = [_number(timings.get(key)) for key in ("prompt_seconds", "generation_seconds")]
    measured = [seconds for seconds in parts if seconds is not None]
    return Row(
        number=number,
        id=_shown(record.get("id"))[:_NAME],
        source=_shown(record.get("source"))[:_NAME],
        status="failed" if failed else "cut" if cut else "done",
        prompt_tokens=_whole(record.get("prompt_tokens")),
        answer_tokens=_whole(record.get("completion_tokens")),
        seconds=sum(measured) if measured else None,
        preview=" ".join((message or answer)[: 4 * _PREVIEW].split())[:_PREVIEW],
        message=message[:limit],
        text=answer[:limit],
        left_out=max(len(answer) - limit, 0),
        is_data=record.get("text") is None,
        hint=_shown(failures.hint_of(record)),
        warnings=[_shown(warning) for warning in record.get("warnings") or ()],
    )


def _answer(record: Record) -> str:
    if record.get("text") is not None:
        return _shown(record["text"])
    if "data" in record and not (record["data"] is None and failures.is_failed(record)):
        return _shown(json.dumps(record["data"], ensure_ascii=False, indent=2, default=str))
    return ""


def _groups(records: Sequence[Record], rows: Sequence[Row]) -> list[Group]:
    row_of = {id(record): row for record, row in zip(records, rows, strict=True)}
    return [
        Group(
            _shown(failures.message_of(group[0])),
            _shown(failures.hint_of(group[0])),
            _reason(failures.code_of(group[0])),
            [row_of[id(record)] for record in group],
        )
        for group in failures.alike(records)
    ]


def _reason(code: Any) -> str:
    try:
        return f"exit code {code}: {ExitCode(code).meaning}"
    except ValueError:
        return ""


def _totals(records: Sequence[Record], rows: Sequence[Row]) -> dict[str, Any]:
    """The numbers at the head of the page; the rate is that of the rows that tell their time."""
    work = _work(records)
    seconds = max((each.finished for each in work), default=0.0)
    tokens = sum(each.prompt_tokens + each.answer_tokens for each in work)
    return {
        "failed": sum(row.status == "failed" for row in rows),
        "cut": sum(row.status == "cut" for row in rows),
        "warned": sum(bool(row.warnings) for row in rows),
        "shortened": sum(bool(row.left_out) for row in rows),
        "with_source": any(row.source not in ("", row.id) for row in rows),
        "prompt_tokens": sum(row.prompt_tokens or 0 for row in rows),
        "answer_tokens": sum(row.answer_tokens or 0 for row in rows),
        "took": duration(seconds) if seconds else None,
        "rate": tokens / seconds if seconds else None,
    }


def _charts(records: Sequence[Record]) -> list[charts.Chart]:
    answered = [record for record in records if not failures.is_failed(record)]
    answers = [_whole(record.get("completion_tokens")) for record in answered]
    prompts = [_whole(record.get("prompt_tokens")) for record in records]
    drawn = (
        charts.throughput(_work(records)),
        charts.histogram("Tokens in an answer", (n for n in answers if n is not None)),
        charts.histogram("Tokens in a prompt", (n for n in prompts if n)),
    )
    return [chart for chart in drawn if chart]


def _work(records: Sequence[Record]) -> list[charts.Work]:
    return [
        charts.Work(
            finished,
            _number(timings.get("prompt_seconds")) or 0.0,
            _number(timings.get("generation_seconds")) or 0.0,
            _whole(record.get("prompt_tokens")) or 0,
            _whole(record.get("completion_tokens")) or 0,
        )
        for record in records
        if (timings := _timings(record))
        and (finished := _number(timings.get("finished_at"))) is not None
    ]


def _timings(record: Record) -> Record:
    timings = record.get("timings")
    return timings if isinstance(timings, Mapping) else {}


def _number(value: Any) -> float | None:
    """`value` if a quantity can have it: a result file may have been edited by hand."""
    usable = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return float(value) if usable else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _shown(value: Any) -> str:
    return without_controls("" if value is None else str(value))


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"  # noqa: RUF001 - a dash for people


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"  # noqa: RUF001
