"""Joins result files, such as those of shards: each row once, none missing, in one file."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from mistral_cli.batch.digests import FAILED, text_digest
from mistral_cli.batch.input.rows import read_rows
from mistral_cli.batch.options import InputFormat  # noqa: TC001 - Typer evaluates it
from mistral_cli.batch.report.page import check_report, write_report
from mistral_cli.batch.results import open_results
from mistral_cli.batch.run_report import RunState
from mistral_cli.batch.sinks.file import write_error
from mistral_cli.batch.sinks.open import lines_file
from mistral_cli.batch.sinks.table import is_table
from mistral_cli.errors import MistralCliError, RowsFailed, UsageError
from mistral_cli.system.files import atomic_writer, refuse_to_overwrite, temporary_beside
from mistral_cli.system.options import option
from mistral_cli.system.stdout import write
from mistral_cli.texts.compressed import SUFFIXES as COMPRESSED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mistral_cli.batch.results import ResultsFile
    from mistral_cli.system.terminal import Terminal

_NAMED = 3  # rows or files named in a message


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


def merge_results(names: Sequence[str], options: MergeOptions, terminal: Terminal) -> None:
    """Write the results in the files `names` as one file.

    Raises ResultsIncomplete if a row occurs in two files or is missing from all, before anything
    is written, and RowsFailed at the end if there are failed rows.
    """
    if str(options.output) == "-":
        options = replace(options, output=None)
    _check_output(names, options)
    with ExitStack() as stack:
        files = [stack.enter_context(open_results(name)) for name in names]
        for file in files:
            if file.run and file.run.state is RunState.RUNNING:
                raise UsageError(
                    f"the run that writes {file.name} goes on", hint="Wait until it ends."
                )
        if len({type(file.format) for file in files}) > 1:
            raise UsageError(
                "the files have different formats",
                hint="Merge those written with --format openai separately.",
            )
        lines = _unique(files)
        if options.input:
            lines = _in_input_order(lines, options, terminal)
        else:
            _check_runs(files, terminal)
        with _opened(options.output, terminal) as output:
            for file, line in lines:
                output(file.raw(line))
        failed = sum(file.columns.flags[line] & FAILED > 0 for file, line in lines)
        if options.report:
            records = [file.record(line) for file, line in lines]
            command = files[0].run.command if files[0].run else ""
            facts = {"Task": command, "Output": str(options.output or "stdout")}
            write_report(options.report, records, facts)
    tally = f"{len(lines) - failed:,} of {len(lines):,} rows done, {failed:,} failed"
    if failed:
        raise RowsFailed(
            f"merged: {tally}", hint="Run the batch of that file again with --retry-failed."
        )
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    terminal.note(f"merged {count}: {tally}")


def _check_output(names: Sequence[str], options: MergeOptions) -> None:
    if options.report:
        check_report(options.report, options.output)
    if not options.output:
        return
    if is_table(options.output) or options.output.suffix.lower() in COMPRESSED:
        raise UsageError(
            f"merged results are JSON Lines, which {options.output} should not be by its name",
            hint="Name a .jsonl file with -o.",
        )
    refuse_to_overwrite([lines_file(Path(name)) for name in names], "-o", options.output)
    if options.output.exists() and not options.force:
        raise UsageError(
            f"{options.output} exists", hint="Choose another -o, or replace it with --force."
        )


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
        raise write_error(path, error, continues=False) from error


class MergedLines:
    """Lines of several files, one for each row: iterating yields each with its file."""

    def __init__(self, files: Sequence[ResultsFile], lines: NDArray[Any]) -> None:
        """Of the columns of `lines`, the first has numbers of files, and the second of lines."""
        self._files, self._lines = files, lines

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[tuple[ResultsFile, int]]:
        for number, line in self._lines.tolist():
            yield self._files[number], line

    def ordered(self, row_ids: Iterable[str]) -> tuple[MergedLines, list[str], int]:
        """Return the lines in the order of these rows, the rows without one, and other lines.

        The lines of other rows come last.
        """
        import numpy as np

        place_of = {text_digest: place for place, text_digest in enumerate(self._ids())}
        missing = list[str]()
        order = array("q")
        for row_id in row_ids:
            place = place_of.pop(text_digest(row_id), None)
            if place is None:
                missing.append(row_id)
            else:
                order.append(place)
        others = array("q", sorted(place_of.values()))
        lines = self._lines[np.concatenate((np.array(order, int), np.array(others, int)))]
        return MergedLines(self._files, lines), missing, len(others)

    def _ids(self) -> Iterator[int]:
        return (file.columns.ids[line] for file, line in self)


def _unique(files: Sequence[ResultsFile]) -> MergedLines:
    """Return the line of each row. Raises ResultsIncomplete if a row has two different results."""
    import numpy as np

    lines = np.concatenate(
        [np.column_stack((np.full(len(f.newest), n), f.newest)) for n, f in enumerate(files)]
    )
    ids = np.concatenate(
        [np.array(file.columns.ids, dtype=np.int64)[file.newest] for file in files]
    )
    order = np.argsort(ids, kind="stable")
    doubles, copies = list[str](), list[int]()
    for place in np.flatnonzero(ids[order[1:]] == ids[order[:-1]]).tolist():
        (one, first), (other, second) = (
            lines[order[place]].tolist(),
            lines[order[place + 1]].tolist(),
        )
        copies.append(int(order[place + 1]))
        if files[one].raw(first) != files[other].raw(second):
            row = files[other].record(second)["id"]
            doubles.append(f"{row} in {files[one].name} and {files[other].name}")
    if doubles:
        raise ResultsIncomplete(
            f"{_rows(len(doubles))} two results: {_some(doubles)}",
            hint="Leave out one of the files, or name the results of one set of shards.",
        )
    return MergedLines(files, np.delete(lines, copies, axis=0))


def _in_input_order(lines: MergedLines, options: MergeOptions, terminal: Terminal) -> MergedLines:
    """Return the lines in the order of the inputs. Raises ResultsIncomplete for missing rows."""
    rows = read_rows(
        options.input or (),
        terminal,
        input_format=options.input_format,
        text_field=options.text_field,
        id_field=options.id_field,
        has_header=not options.no_header,
        query=options.from_sql,
    )
    ordered, missing, others = lines.ordered(row.id for row in rows)
    if missing:
        raise ResultsIncomplete(
            f"{_rows(len(missing))} no result: {_some(missing)}",
            hint="Run the batch, or the shard, that should have them again.",
        )
    if others:
        terminal.warn(f"{others:,} results are of rows that are not among the inputs")
    return ordered


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
    missing = run.rows - len(file.newest)
    return f"{file.name} lacks {missing:,} of {run.rows:,} rows" if missing > 0 else None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _rows(number: int) -> str:
    return "1 row has" if number == 1 else f"{number:,} rows have"
