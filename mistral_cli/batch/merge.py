"""Joins result files, such as those of shards: each row once, none missing, in one file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NamedTuple

from mistral_cli.batch.formats import format_of
from mistral_cli.batch.input.rows import read_rows
from mistral_cli.batch.options import InputFormat  # noqa: TC001 - Typer evaluates it
from mistral_cli.batch.report.page import check_report, write_report
from mistral_cli.batch.resume import ResultLine, read_result_lines
from mistral_cli.batch.sinks.file import write_error
from mistral_cli.batch.sinks.open import lines_file
from mistral_cli.batch.status import RunReport, RunState
from mistral_cli.errors import MistralCliError, RowsFailed, UsageError
from mistral_cli.system.files import atomic_writer, refuse_to_overwrite, temporary_beside
from mistral_cli.system.options import option
from mistral_cli.system.stdout import write

if TYPE_CHECKING:
    from mistral_cli.batch.formats import LineFormat, LineSummary, Record
    from mistral_cli.system.terminal import Terminal

_NAMED = 3  # rows or files named in a message
_DIGEST = 16


class ResultsIncomplete(MistralCliError):
    """Rows are missing from the files to merge, or occur twice."""


@dataclass(frozen=True)
class MergeOptions:
    """Where the merged results go, and the inputs that they are compared with."""

    output: Annotated[
        Path | None,
        option("-o", "--output", panel="Results", metavar="FILE", help="Default: stdout."),
    ] = None
    report: Annotated[
        Path | None,
        option("--report", panel="Results", metavar="FILE", help="Write an HTML report."),
    ] = None
    force: Annotated[
        bool, option("--force", panel="Results", help="Replace an output that exists.")
    ] = False
    input: Annotated[
        list[str] | None,
        option(
            "--input",
            panel="Rows",
            metavar="INPUT",
            help="An input of the batch; repeatable. Each of its rows must have a result, and the "
            "results are written in the order of the rows.",
        ),
    ] = None
    text_field: Annotated[
        str | None, option("--text-field", panel="Rows", metavar="NAME", help="As in the batch.")
    ] = None
    id_field: Annotated[
        str | None, option("--id-field", panel="Rows", metavar="NAME", help="As in the batch.")
    ] = None
    input_format: Annotated[
        InputFormat | None, option("--input-format", panel="Rows", help="As in the batch.")
    ] = None
    from_sql: Annotated[
        str | None, option("--from-sql", panel="Rows", metavar="QUERY", help="As in the batch.")
    ] = None
    no_header: Annotated[bool, option("--no-header", panel="Rows", help="As in the batch.")] = False


@dataclass(frozen=True)
class ResultsFile:
    """An open file of results, and what its run reports of itself.

    `lines` are the newest of each row, by a digest of its id.
    """

    name: str
    stream: IO[bytes]
    format: LineFormat
    lines: dict[bytes, ResultLine]
    run: RunReport | None

    def raw(self, line: ResultLine) -> bytes:
        """Return the bytes of a line, with its end."""
        return os.pread(self.stream.fileno(), line.size, line.start).rstrip(b"\n") + b"\n"

    def record(self, line: ResultLine) -> Record:
        """Return the record of a line."""
        record = self.format.decode(json.loads(self.raw(line)))
        assert record is not None  # it was one when the file was opened
        return record

    @property
    def command(self) -> str:
        """The command that its run reports, or an empty text."""
        return self.run.command if self.run else ""


class _Place(NamedTuple):
    file: ResultsFile
    line: ResultLine


def merge_results(names: Sequence[str], options: MergeOptions, terminal: Terminal) -> None:
    """Write the results in the files `names` as one file.

    Raises ResultsIncomplete if a row occurs in two files or is missing from all, before anything
    is written, and RowsFailed at the end if there are failed rows.
    """
    _check_output(names, options)
    with ExitStack() as stack:
        files = [stack.enter_context(_open_results(name)) for name in names]
        if len({type(file.format) for file in files}) > 1:
            raise UsageError(
                "the files have different formats",
                hint="Merge those written with --format openai separately.",
            )
        places = _unique(files)
        order = _in_input_order(places, options, terminal) if options.input else list(places)
        if not options.input:
            _check_runs(files, terminal)
        with _opened(options.output, terminal) as output:
            for row in order:
                output(places[row].file.raw(places[row].line))
        failed = sum(place.line.failed for place in places.values())
        if options.report:
            records = [file.record(line) for file, line in map(places.__getitem__, order)]
            facts = {"Task": files[0].command, "Output": str(options.output or "stdout")}
            write_report(options.report, records, facts)
    tally = f"{len(places) - failed:,} of {len(places):,} rows done, {failed:,} failed"
    if failed:
        raise RowsFailed(
            f"merged: {tally}", hint="Run the batch of that file again with --retry-failed."
        )
    terminal.note(f"merged {len(files)} files: {tally}")


def _check_output(names: Sequence[str], options: MergeOptions) -> None:
    if options.report:
        check_report(options.report, options.output)
    if not options.output:
        return
    refuse_to_overwrite([lines_file(Path(name)) for name in names], "-o", options.output)
    if options.output.exists() and not options.force:
        raise UsageError(
            f"{options.output} exists", hint="Choose another -o, or replace it with --force."
        )


@contextmanager
def _open_results(name: str) -> Iterator[ResultsFile]:
    run = RunReport.read(lines_file(Path(name)))
    if run and run.state is RunState.RUNNING:
        raise UsageError(f"the run that writes {name} goes on", hint="Wait until it ends.")
    try:
        stream = lines_file(Path(name)).open("rb")
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read: {error.strerror}", hint="Name results of a batch."
        ) from error
    with stream:
        line_format = format_of(stream)
        lines: dict[bytes, ResultLine] = {}

        def add(line: LineSummary, start: int, size: int) -> None:
            lines[_digest(line.id)] = ResultLine(line.id, line.failed, start, size)

        read_result_lines(stream, line_format, name, add)
        yield ResultsFile(name, stream, line_format, lines, run)


@contextmanager
def _opened(path: Path | None, terminal: Terminal) -> Iterator[Callable[[bytes], object]]:
    """Yield the function that writes a line: to a file that appears whole, or to stdout."""
    if path is None:
        yield lambda raw: write(terminal, raw.decode("utf-8"))
        return
    try:
        with atomic_writer(path.resolve(), temporary_beside(path.resolve())) as output:
            yield output.write
    except OSError as error:
        raise write_error(path, error) from error


def _digest(row_id: str) -> bytes:
    return hashlib.blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


def _unique(files: Sequence[ResultsFile]) -> dict[bytes, _Place]:
    """Return where each row stands. Raises ResultsIncomplete if one has two different results."""
    places: dict[bytes, _Place] = {}
    doubles: list[str] = []
    for file in files:
        for row, line in file.lines.items():
            earlier = places.setdefault(row, _Place(file, line))
            if earlier.line is not line and earlier.file.raw(earlier.line) != file.raw(line):
                doubles.append(f"{line.id} in {earlier.file.name} and {file.name}")
    if doubles:
        raise ResultsIncomplete(
            f"{_rows(len(doubles))} two results: {_some(doubles)}",
            hint="Leave out one of the files, or name the results of one set of shards.",
        )
    return places


def _in_input_order(
    places: dict[bytes, _Place], options: MergeOptions, terminal: Terminal
) -> list[bytes]:
    """Return the rows in the order of the inputs. Raises ResultsIncomplete for missing rows."""
    rows = read_rows(
        options.input or (),
        terminal,
        input_format=options.input_format,
        text_field=options.text_field,
        id_field=options.id_field,
        has_header=not options.no_header,
        query=options.from_sql,
    )
    order: dict[bytes, None] = {}
    missing: list[str] = []
    for row in rows:
        digest = _digest(row.id)
        if digest in places:
            order[digest] = None
        else:
            missing.append(row.id)
    if missing:
        raise ResultsIncomplete(
            f"{_rows(len(missing))} no result: {_some(missing)}",
            hint="Run the batch, or the shard, that should have them again.",
        )
    if extra := places.keys() - order.keys():
        terminal.warn(f"{len(extra):,} results are of rows that are not among the inputs")
    return [*order, *(row for row in places if row in extra)]


def _check_runs(files: Sequence[ResultsFile], terminal: Terminal) -> None:
    """Raise ResultsIncomplete if the runs report more rows than there are, or lack a shard."""
    problems = [problem for file in files if (problem := _shortfall(file))]
    shards: dict[int, set[int]] = {}
    for file in files:
        if file.run and file.run.shard:
            number, count = map(int, file.run.shard.split("/"))
            shards.setdefault(count, set()).add(number)
    for count, present in shards.items():
        problems += [
            f"no file has the shard {number}/{count}"
            for number in range(1, count + 1)
            if number not in present
        ]
    if problems:
        raise ResultsIncomplete(
            f"rows are missing: {_some(problems)}",
            hint="Run those shards again; they continue where they stopped.",
        )
    if unknown := [file.name for file in files if not (file.run and file.run.rows is not None)]:
        terminal.warn(
            f"nothing tells how many rows {_some(unknown)} should have; "
            "--input compares the results with the inputs"
        )


def _shortfall(file: ResultsFile) -> str | None:
    run = file.run
    if run is None or (run.rows is None and run.state is RunState.ENDED):
        return None
    if run.rows is None:
        return f"the run of {file.name} was {run.state}"
    missing = run.rows - len(file.lines)
    return f"{file.name} lacks {missing:,} of {run.rows:,} rows" if missing > 0 else None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _rows(number: int) -> str:
    return "1 row has" if number == 1 else f"{number:,} rows have"
