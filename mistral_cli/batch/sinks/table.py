"""Results as a table: the rows of the inputs, with the answers in further columns.

The results themselves are lines of a file beside it, as FileSink writes them. The table is made of
them when a run ends, however it ends, so it is never half-written.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from mistral_cli.batch.digests import LineColumns
from mistral_cli.batch.failures import is_failed, message_of
from mistral_cli.batch.formats import NativeFormat
from mistral_cli.batch.input.arrow import check_installed
from mistral_cli.batch.resume import parse_line, read_result_lines
from mistral_cli.batch.sinks import columnar
from mistral_cli.batch.sinks.file import FileSink, write_error
from mistral_cli.errors import UsageError
from mistral_cli.system.files import atomic_writer, temporary_beside, temporary_file_errors

if TYPE_CHECKING:
    from mistral_cli.batch.digests import DigestSet
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.batch.resume import RowStatus
    from mistral_cli.system.reporter import Reporter

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
"""By the suffix of the file."""

SEVERAL = "|"
"""Separates the labels of one text."""

_WINDOW = 1000  # rows

_PROBABILITY = "probability"
"""Begins the names of new columns that have numbers."""

_TAKEN = "answer_{}"
"""The name of a new column if the inputs have a column of its own name."""


def is_table(path: Path | None) -> bool:
    """Return whether results go into a table, by the suffix of the file."""
    return path is not None and path.suffix.lower() in (*DELIMITERS, *columnar.SUFFIXES)


def lines_beside(table: Path) -> Path:
    """Return the hidden file with the lines of a table of results."""
    return table.with_name(f".{table.name}.mistral-cli-batch.jsonl")


class TableSink(FileSink):
    """A table in a file, and a hidden file beside it with the results as lines."""

    def __init__(self, path: Path, reporter: Reporter, *, dry_run: bool, force: bool) -> None:
        """Open the file of lines as FileSink does.

        Raises UsageError for a table of another program, unless `force` is set, and without the
        library that writes it.
        """
        if path.suffix.lower() in columnar.SUFFIXES:
            check_installed(path)
        self._table = path.resolve()
        lines = lines_beside(self._table)
        if self._table.exists() and not (lines.exists() or force):
            raise UsageError(
                f"{path} exists and is not a result of this batch",
                hint="Choose another -o, or overwrite the file with --force.",
            )
        super().__init__(lines, NativeFormat(), reporter, dry_run=dry_run)
        self.name = str(path)
        self._rows = tempfile.TemporaryFile(  # noqa: SIM115 - closed with us
            "w+", encoding="utf-8", errors="surrogatepass"
        )
        self._given: dict[str, None] = {}  # the columns of the inputs

    def close(self) -> None:
        """Close the files."""
        with contextlib.suppress(OSError):  # of a full disk, which has been reported
            self._rows.close()
        super().close()

    def claim(self, items: Sequence[WorkItem], options: BatchOptions) -> list[RowStatus]:
        """Keep the columns of the rows, too, for the table."""
        with temporary_file_errors():
            for item in items:
                cells = _columns_of(item.row)
                self._given |= dict.fromkeys(cells)
                self._rows.write(json.dumps([item.row.id, dict(cells)], ensure_ascii=False) + "\n")
        return super().claim(items, options)

    def finish(
        self,
        *,
        ordered: bool,
        present: DigestSet | None,
        prune: bool = False,
        hurried: bool = False,
    ) -> None:
        """Also write the table, in the order of the inputs. Raises ResultsNotWritten.

        It has the rows that have been read.
        """
        super().finish(ordered=ordered, present=present, prune=prune, hurried=hurried)
        try:
            with (
                tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogatepass") as answers,
                atomic_writer(self._table.resolve(), temporary_beside(self._table)) as file,
            ):
                with temporary_file_errors():
                    added = self._write_answers(answers)
                    answers.seek(0)
                self._write_table(file, answers, added)
        except OSError as error:
            raise write_error(self._table, error) from error

    def _write_answers(self, answers: IO[str]) -> list[str]:
        """Write the new cells of each row as a line, and return the names of their columns."""
        from mistral_cli.batch.index import ResultIndex

        columns = LineColumns()
        added: dict[str, None] = {}
        with self._path.open("rb") as results:
            read_result_lines(results, self._format, self.name, columns.add)
            index = ResultIndex(columns, ids_are_fixed=True)
            for rows in self._windows():
                lines = index.newest_of_ids([row_id for row_id, _ in rows])
                for line in lines:
                    cells = {}
                    if line >= 0:
                        results.seek(int(index.starts[line]))
                        record = parse_line(results.readline())
                        cells = _answer_cells(record) if record else {}
                    added |= dict.fromkeys(cells)
                    answers.write(json.dumps(cells, ensure_ascii=False) + "\n")
        names = [name for name in added if name != "error"]
        return [*names, *(["error"] if "error" in added else [])]

    def _write_table(self, file: BinaryIO, answers: IO[str], added: Sequence[str]) -> None:
        """Write the rows, in the format of the file's suffix."""
        given = list(self._given)
        added_names = _free_names(added, given)
        names, rows = [*given, *added_names], self._table_rows(answers, added)
        suffix = self._table.suffix.lower()
        if suffix in columnar.SUFFIXES:
            pairs = zip(added, added_names, strict=True)
            numbers = {name for key, name in pairs if key.startswith(_PROBABILITY)}
            typed = (
                [
                    float(cell) if cell and name in numbers else cell
                    for name, cell in zip(names, cells, strict=True)
                ]
                for cells in rows
            )
            columnar.write_columns(file, suffix, names, numbers, typed)
            return
        # Without a byte order mark, Excel takes UTF-8 for another encoding.
        text = io.TextIOWrapper(file, "utf-8-sig", "backslashreplace", newline="")
        writer = csv.writer(text, delimiter=DELIMITERS[suffix])
        writer.writerow(names)
        writer.writerows(rows)  # None is an empty cell
        text.flush()
        text.detach()

    def _table_rows(self, answers: IO[str], added: Sequence[str]) -> Iterator[list[str | None]]:
        """Yield the cells of each row; None if it has none in a column."""
        for rows in self._windows():
            for _, cells in rows:
                answer = json.loads(answers.readline())
                yield [*map(cells.get, self._given), *map(answer.get, added)]

    def _windows(self) -> Iterator[list[tuple[str, dict[str, str]]]]:
        """Yield the id and the cells of each row, many at a time."""
        self._rows.seek(0)
        while lines := list(islice(self._rows, _WINDOW)):
            yield [tuple(json.loads(line)) for line in lines]


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
