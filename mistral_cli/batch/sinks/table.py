"""Results as a table: the rows of the inputs, with the answers in further columns.

The results themselves are lines of a file beside it, as FileSink writes them. The table is made of
them when a run ends, however it ends, so it is never half-written.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.failures import is_failed, message_of
from mistral_cli.batch.formats import NativeFormat
from mistral_cli.batch.sinks.file import FileSink, write_error
from mistral_cli.errors import UsageError
from mistral_cli.system.files import write_atomically

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.system.reporter import Reporter

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
"""By the suffix of the file."""

SEVERAL = "|"
"""Separates the labels of one text."""

_TAKEN = "answer_{}"
"""The name of a new column if the inputs have a column of its own name."""


def is_table(path: Path | None) -> bool:
    """Return whether results go into a table, by the suffix of the file."""
    return path is not None and path.suffix.lower() in DELIMITERS


def lines_beside(table: Path) -> Path:
    """Return the hidden file with the lines of a table of results."""
    return table.with_name(f".{table.name}.mistral-cli-batch.jsonl")


class TableSink(FileSink):
    """A CSV or TSV file, and a hidden file beside it with the results as lines."""

    def __init__(self, path: Path, reporter: Reporter, *, dry_run: bool, force: bool) -> None:
        """Open the file of lines as FileSink does.

        Raises UsageError for a table of another program, unless `force` is set.
        """
        self._table = path.resolve()
        lines = lines_beside(self._table)
        if self._table.exists() and not (lines.exists() or force):
            raise UsageError(
                f"{path} exists and is not a result of this batch",
                hint="Choose another -o, or overwrite the file with --force.",
            )
        super().__init__(lines, NativeFormat(), reporter, dry_run=dry_run)
        self.name = str(path)

    def finish(self, items: Sequence[WorkItem], *, ordered: bool, prune: bool = False) -> None:
        """Also write the table, in the order of the inputs. Raises ResultsNotWritten."""
        super().finish(items, ordered=ordered, prune=prune)
        records = {str(record["id"]): record for record in self.existing_records()}
        rows = [item.row for item in items]
        content = table_of(rows, records, DELIMITERS[self._table.suffix.lower()])
        try:
            write_atomically(self._table, content)
        except OSError as error:
            raise write_error(self._table, error) from error


def table_of(rows: Sequence[Row], records: Mapping[str, Record], delimiter: str) -> bytes:
    """Return the table of all `rows`; cells of a row without a record are empty.

    It begins with a byte order mark, without which Excel takes UTF-8 for another encoding.
    """
    given = list(dict.fromkeys(name for row in rows for name in _columns_of(row)))
    answers = {row.id: _answer_cells(records[row.id]) for row in rows if row.id in records}
    added = list(dict.fromkeys(name for cells in answers.values() for name in cells))
    if "error" in added:
        added = [*(name for name in added if name != "error"), "error"]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow([*given, *_free_names(added, given)])
    for row in rows:
        cells, answer = _columns_of(row), answers.get(row.id, {})
        writer.writerow(
            [*(cells.get(name, "") for name in given), *(answer.get(name, "") for name in added)]
        )
    return text.getvalue().encode("utf-8-sig", "backslashreplace")


def _free_names(added: Sequence[str], given: Sequence[str]) -> list[str]:
    """Names for the new columns that no other column has, also if a table is read once more."""
    names: list[str] = []
    for name in added:
        while name in given or name in names:
            name = _TAKEN.format(name)
        names.append(name)
    return names


def _columns_of(row: Row) -> Mapping[str, str]:
    """Return the cells of a table's row; of another input its place, and a line's text."""
    if row.columns:
        return row.columns
    return {"source": row.source} if row.path else {"source": row.source, "text": row.text}


def _answer_cells(record: Record) -> dict[str, str]:
    """Return the new cells; people edit results files, so any value may have any type."""
    if is_failed(record):
        return {"error": message_of(record)}
    if "label" not in record:
        if "data" in record:
            return {"answer": json.dumps(record["data"], ensure_ascii=False)}
        return {"answer": _text(record.get("text"))}
    cells = {"label": _text(record["label"]), "probability": _number(record.get("probability"))}
    labels = [each for each in _list(record.get("labels")) if isinstance(each, Mapping)]
    if record.get("multi"):
        cells["label"] = SEVERAL.join(map(str, _list(record.get("chosen")))) or cells["label"]
        by_name = {str(each.get("name")): _number(each.get("probability")) for each in labels}
        cells |= {f"probability of {name}": by_name[name] for name in sorted(by_name)}
    if record.get("reason"):
        cells["reason"] = _text(record["reason"])
    return cells


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else ""
