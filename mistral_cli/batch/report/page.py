"""The results of a batch as one self-contained HTML page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch import failures
from mistral_cli.batch.progress import duration
from mistral_cli.batch.report import charts
from mistral_cli.batch.report.table import (
    count,
    failure_groups,
    quantity,
    table_row,
    timings_of,
)
from mistral_cli.system.html.page import check_page, render, write_page

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.report.table import TableRow

_GENERATOR = "mistral-cli batch"
_LATEST_START = 10**11  # seconds since the epoch; later years have five digits
_MAX_TEXT, _MIN_TEXT = 4000, 200  # characters of one row's text
_ALL_TEXTS = 8_000_000  # characters in total, so that a browser can still open the page
_LISTED_GROUPS, _LISTED_ROWS = 50, 20


def check_report(path: Path, results: Path | None) -> None:
    """Raise UsageError if the report would overwrite `results`, or a file that is not a report."""
    check_page(path, "--report", _GENERATOR, {"-o": results})


def write_report(path: Path, records: Sequence[Record], facts: Mapping[str, str]) -> None:
    """Write the page about `records` to `path`.

    `facts` are shown at the top, each a label and a value. Where a text is shortened, the page
    refers to the fact labelled "Output". Raises MistralCliError.
    """
    limit = max(_MIN_TEXT, min(_MAX_TEXT, _ALL_TEXTS // max(len(records), 1)))
    rows = [table_row(number, record, limit) for number, record in enumerate(records, 1)]
    page = render(
        Path(__file__).parent,
        _GENERATOR,
        rows=rows,
        groups=failure_groups(records, rows),
        facts=facts,
        output=next((v for k, v in facts.items() if k.lower() == "output"), "the output file"),
        started=_started(records),
        strftime=time.strftime,
        charts=_charts(records),
        listed_groups=_LISTED_GROUPS,
        listed_rows=_LISTED_ROWS,
        **_totals(records, rows),
    )
    write_page(path, page, "--report")


def _totals(records: Sequence[Record], rows: Sequence[TableRow]) -> dict[str, Any]:
    """Return the numbers at the top of the page; the rate is that of rows with timings."""
    work = _work(records)
    seconds = max((each.finished for each in work), default=0.0)
    tokens = sum(each.prompt_tokens + each.answer_tokens for each in work)
    return {
        "failed": sum(row.status == "failed" for row in rows),
        "cut": sum(row.status == "cut" for row in rows),
        "flawed": sum(row.is_flawed for row in rows),
        "with_checks": any(row.checks for row in rows),
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
    answers = [count(record.get("completion_tokens")) for record in answered]
    prompts = [count(record.get("prompt_tokens")) for record in records]
    candidates = (
        charts.throughput(_work(records)),
        charts.histogram("Tokens in an answer", (n for n in answers if n is not None)),
        charts.histogram("Tokens in a prompt", (n for n in prompts if n)),
    )
    return [chart for chart in candidates if chart]


def _started(records: Sequence[Record]) -> time.struct_time | None:
    """Return when the first run began."""
    started = min((run for run, _, _ in _timed(records) if 0 < run < _LATEST_START), default=None)
    return None if started is None else time.localtime(started)


def _work(records: Sequence[Record]) -> list[charts.Work]:
    """Return the work of each row; runs are joined as if one had followed directly on another."""
    lengths: dict[float, float] = {}
    for run, finished, _ in _timed(records):
        lengths[run] = max(lengths.get(run, 0.0), finished)
    runs = sorted(lengths)
    starts = dict(zip(runs, accumulate((lengths[run] for run in runs), initial=0.0), strict=False))
    return [
        charts.Work(
            starts[run] + finished,
            quantity(record["timings"].get("prompt_seconds")) or 0.0,
            quantity(record["timings"].get("generation_seconds")) or 0.0,
            count(record.get("prompt_tokens")) or 0,
            count(record.get("completion_tokens")) or 0,
        )
        for run, finished, record in _timed(records)
    ]


def _timed(records: Sequence[Record]) -> Iterator[tuple[float, float, Record]]:
    """Yield the start of the run, the seconds until the row was finished, and the record."""
    for record in records:
        timings = timings_of(record)
        if (finished := quantity(timings.get("finished_at"))) is not None:
            yield quantity(timings.get("run_began_at")) or 0.0, finished, record
