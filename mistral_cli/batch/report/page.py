"""The results of a batch as one HTML page that needs nothing else.

Everything in a result came from a text or a model: the template escapes all of it, and the
page's Content-Security-Policy runs no script but its own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli import __version__
from mistral_cli.batch import failures
from mistral_cli.batch.progress import duration
from mistral_cli.batch.report import charts
from mistral_cli.batch.report import rows as report_rows
from mistral_cli.errors import UsageError
from mistral_cli.system.files import write_atomically

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.report.rows import Row

_GENERATOR = "mistral-cli batch"
_HEAD = 4096  # bytes of a page that name its generator
_LATEST = 10**11  # seconds since the epoch: years of four digits
_LONGEST, _SHORTEST = 4000, 200  # characters of one row's text
_ALL_TEXTS = 8_000_000  # characters: a browser must still open the page
_LISTED_GROUPS, _LISTED_ROWS = 50, 20


def check_report(path: Path, results: Path | None) -> None:
    """Refuse to write a page over the `results`, or over what is none. Raises UsageError."""
    if results and path.resolve() == results.resolve():
        raise UsageError("-o and --report are the same file", hint="Name another for one of them.")
    with contextlib.suppress(OSError):  # what cannot be read is told when it cannot be written
        head = path.read_bytes()[:_HEAD] if path.is_file() else b""
        if head and _GENERATOR.encode() not in head:
            raise UsageError(
                f"{path} is there and is no report of a batch", hint="Name another --report."
            )


def write_report(
    path: Path,
    records: Sequence[Record],
    facts: Mapping[str, str],
) -> None:
    """Write the page about `records`, the result lines of a batch, to `path`.

    `facts` stand at its head, as label and value; the one called "output" is named where a
    text is not shown whole. Raises OSError.
    """
    page = _render(records, facts)
    # A lone surrogate, which JSON can bring, is no character that a file can hold.
    write_atomically(path, page.encode("utf-8", "replace"))


def _render(records: Sequence[Record], facts: Mapping[str, str]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
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
    rows = [
        report_rows.table_row(number, record, limit) for number, record in enumerate(records, 1)
    ]
    return environment.get_template("page.html").render(
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        rows=rows,
        groups=report_rows.failure_groups(records, rows),
        facts=facts,
        output=next((v for k, v in facts.items() if k.lower() == "output"), "the output file"),
        started=_started(records),
        strftime=time.strftime,
        charts=_charts(records),
        listed_groups=_LISTED_GROUPS,
        listed_rows=_LISTED_ROWS,
        generator=_GENERATOR,
        version=__version__,
        **_totals(records, rows),
    )


def _csp_hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"sha256-{digest}"


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
    answers = [report_rows.whole(record.get("completion_tokens")) for record in answered]
    prompts = [report_rows.whole(record.get("prompt_tokens")) for record in records]
    drawn = (
        charts.throughput(_work(records)),
        charts.histogram("Tokens in an answer", (n for n in answers if n is not None)),
        charts.histogram("Tokens in a prompt", (n for n in prompts if n)),
    )
    return [chart for chart in drawn if chart]


def _started(records: Sequence[Record]) -> time.struct_time | None:
    """When the first of the runs began."""
    began = min((run for run, _, _ in _timed(records) if 0 < run < _LATEST), default=None)
    return None if began is None else time.localtime(began)


def _work(records: Sequence[Record]) -> list[charts.Work]:
    """What was computed for each row and when, as if one run had followed on the other."""
    lengths: dict[float, float] = {}
    for run, finished, _ in _timed(records):
        lengths[run] = max(lengths.get(run, 0.0), finished)
    runs = sorted(lengths)
    starts = dict(zip(runs, accumulate((lengths[run] for run in runs), initial=0.0), strict=False))
    return [
        charts.Work(
            starts[run] + finished,
            report_rows.number(record["timings"].get("prompt_seconds")) or 0.0,
            report_rows.number(record["timings"].get("generation_seconds")) or 0.0,
            report_rows.whole(record.get("prompt_tokens")) or 0,
            report_rows.whole(record.get("completion_tokens")) or 0,
        )
        for run, finished, record in _timed(records)
    ]


def _timed(records: Sequence[Record]) -> Iterator[tuple[float, float, Record]]:
    """The rows that tell their time: when their run began, and the seconds until they were done."""
    for record in records:
        timings = report_rows.timings_of(record)
        if (finished := report_rows.number(timings.get("finished_at"))) is not None:
            yield report_rows.number(timings.get("run_began_at")) or 0.0, finished, record


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"  # noqa: RUF001 - a dash for people


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"  # noqa: RUF001
