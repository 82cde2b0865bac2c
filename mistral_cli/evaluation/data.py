"""The rows of an evaluation with their known answers, and the answers of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.formats import NativeFormat
from mistral_cli.batch.input.rows import TABLES, check_unique, format_of, read_rows
from mistral_cli.batch.options import InputFormat
from mistral_cli.batch.resume import parse_line
from mistral_cli.errors import UsageError, reason
from mistral_cli.evaluation.metrics.metric import KnownExample
from mistral_cli.texts.inputs import STDIN

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.evaluation.metrics.metric import TaskMetrics
    from mistral_cli.evaluation.options import EvaluationOptions
    from mistral_cli.models.call import CallContext
    from mistral_cli.system.reporter import Reporter

_HINT = "Use a .csv, .tsv or .jsonl file with the columns text and expected."


@dataclass(frozen=True)
class KnownRows:
    """The rows, and the known answer of each by its id."""

    rows: Sequence[Row]
    expected: Mapping[str, Any]

    def examples(
        self, records: Mapping[str, Record], metrics: TaskMetrics
    ) -> dict[str, KnownExample]:
        """The rows that have a record, each with the known answer and the model's."""
        return {
            row.id: KnownExample(
                self.expected[row.id], _answer(records[row.id], metrics), records[row.id]
            )
            for row in self.rows
            if row.id in records
        }


def read_known_rows(
    data: Path,
    metrics: TaskMetrics,
    options: BatchOptions,
    evaluation: EvaluationOptions,
    call: CallContext,
) -> KnownRows:
    """The rows of the file, all with a known answer. Raises UsageError."""
    input_format = options.input_format or format_of(data)
    if data == STDIN or input_format not in (*TABLES, InputFormat.JSONL):
        raise UsageError(f"{data} is not a table or JSON Lines", hint=_HINT)
    rows: Sequence[Row] = list(
        read_rows(
            [str(data)],
            call.terminal,
            input_format=input_format,
            text_field=options.text_field,
            id_field=options.id_field,
            expected_field=evaluation.expected_field,
            encoding=call.encoding,
            has_header=not options.no_header,
        )
    )
    check_unique(rows)
    rows = rows[: evaluation.first_rows]
    expected = {row.id: _known(row, metrics, evaluation.expected_field) for row in rows}
    return KnownRows(rows, expected)


def read_baseline(
    path: Path, rows: Sequence[Row], metrics: TaskMetrics, reporter: Reporter
) -> dict[str, Record]:
    """The records of an earlier run about `rows`, by id. Raises UsageError.

    Warns if they are about a file of another name: any two data sets may have the same ids.
    """
    try:
        with path.open("rb") as file:
            lines = [line for raw in file if (line := parse_line(raw)) is not None]
    except OSError as error:
        raise UsageError(
            f"--baseline {path} cannot be read: {reason(error)}",
            hint="Name a .jsonl file of an earlier run's folder.",
        ) from error
    decode = NativeFormat().decode
    records = {str(each["id"]): each for line in lines if (each := decode(line)) is not None}
    shared = [records[row.id] for row in rows if row.id in records]
    if not shared:
        raise UsageError(
            f"--baseline {path} has no result for these rows",
            hint="Name a .jsonl file of an earlier run on the same rows. They are found by their "
            "ids: give each row one in the column id.",
        )
    answered = [each for each in shared if each["error"] is None]
    if answered and not any(metrics.field in each for each in answered):
        raise UsageError(
            f"--baseline {path} has the answers of another task",
            hint="Name a .jsonl file of an earlier run of this task.",
        )
    now = {_file_of(row.source) for row in rows}
    earlier = {_file_of(str(each["source"])) for each in shared if each.get("source")}
    if other := sorted(earlier - now):
        reporter.warn(
            f"--baseline {path} is about {', '.join(other)}, not {', '.join(sorted(now))}: "
            "rows with the same id are compared"
        )
    return records


def _file_of(source: str) -> str:
    """The name of the file of a row, whose place is the file and a line."""
    return Path(source.rpartition(":")[0] or source).name


def _known(row: Row, metrics: TaskMetrics, field: str) -> Any:
    if row.error:
        raise row.error
    if row.conversation or row.expected in (None, ""):
        raise UsageError(
            f"{row.source} has no known answer in {field!r}",
            hint="Add it, or name its column or key with --expected-field.",
        )
    try:
        return metrics.expected(row.expected)
    except ValueError as error:
        raise UsageError(
            f"{row.source}: {field!r} {error}", hint="Correct the known answer of this row."
        ) from None


def _answer(record: Record, metrics: TaskMetrics) -> Any:
    return None if record["error"] is not None else metrics.answer(record)
