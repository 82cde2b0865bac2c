"""Resuming: which row each line of a results file belongs to, and so which rows are left to do."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mistral_cli.batch.checks import failed_checks
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.batch.formats import LineFormat, Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.prompts import WorkItem

_LINE_START = b'{"id": "'
_LINES_TO_RECOGNIZE = 1000  # of a file without a single result, before it is refused


class ResultLine(NamedTuple):
    """A line of a results file: the key, id and source of its row, and its position in bytes.

    `checks_failed` is true for an answer that failed a check.
    """

    key: str
    id: str
    source: str
    failed: bool
    start: int
    size: int
    checks_failed: bool = False

    @classmethod
    def of(cls, record: Record, start: int, size: int) -> Self:
        """Return the line that holds `record`."""
        source, failed = str(record.get("source") or ""), record["error"] is not None
        key, row_id, flawed = record["key"], str(record["id"]), bool(failed_checks(record))
        return cls(key, row_id, source, failed, start, size, flawed)


@dataclass(frozen=True)
class ResumePlan:
    """The rows of a batch: left to do, answered, and failed in an earlier run."""

    todo: list[WorkItem]
    done: list[WorkItem]
    failed: list[WorkItem]

    @classmethod
    def of(
        cls,
        items: Sequence[WorkItem],
        assigned: Sequence[ResultLine | None],
        *,
        retry_failed: bool,
        force: bool,
    ) -> Self:
        """Divide the items by the line that `assigned` has for each."""
        plan = cls([], [], [])
        for item, line in zip(items, assigned, strict=True):
            if line is None or force or (line.failed and retry_failed):
                plan.todo.append(item)
            elif line.failed:
                plan.failed.append(item)
            else:
                plan.done.append(item)
        return plan

    @classmethod
    def of_failed_checks(
        cls, items: Sequence[WorkItem], lines: Sequence[ResultLine], *, retry_failed: bool
    ) -> Self:
        """Plan only the items whose newest answer failed a check, whatever options it had."""
        newest = {line.id: line for line in lines}
        plan = cls([], [], [])
        for item in items:
            line = newest.get(item.row.id)
            if line is None:
                continue
            if line.failed:
                (plan.todo if retry_failed else plan.failed).append(item)
            else:
                (plan.todo if line.checks_failed else plan.done).append(item)
        return plan


class DamagedLine(NamedTuple):
    """A line of a results file that is not a result any more; `number` counts from 1."""

    number: int
    raw: bytes


class ResultLines(NamedTuple):
    """The content of a results file: its results, damaged lines, and their end in bytes."""

    results: list[ResultLine]
    damaged: list[DamagedLine]
    end: int


def read_result_lines(file: Iterable[bytes], line_format: LineFormat, name: str) -> ResultLines:
    """Return the lines of a file that contains results.

    After a crash the last line may be incomplete: it is left out, for the caller to cut off.
    Raises UsageError if there are other lines but no results: it is a file of another program.
    """
    results, damaged, end = list[ResultLine](), list[DamagedLine](), 0
    raw_lines = _with_lookahead(file)
    for number, (raw, is_last) in enumerate(raw_lines, start=1):
        line = parse_line(raw)
        record = None if line is None else line_format.decode(line)
        if is_last and _is_incomplete(raw, line_format, only_line=number == 1):
            break
        if record is not None:
            results.append(ResultLine.of(record, end, len(raw)))
        else:
            damaged.append(DamagedLine(number, raw))
            if not results and len(damaged) == _LINES_TO_RECOGNIZE:
                _check_were_results(damaged, name)
        if raw.endswith(b"\n"):
            end += len(raw)
    if not results:
        _check_were_results(damaged, name)
    return ResultLines(results, damaged, end)


def _check_were_results(lines: Iterable[DamagedLine], name: str) -> None:
    for line in lines:
        if not _was_result(line):
            raise UsageError(
                f"line {line.number} of {name} is not a batch result in this format",
                hint="Choose another file with -o.",
            )


def _was_result(line: DamagedLine) -> bool:
    """Return whether the line begins as a result does, and is not an object of another program."""
    return line.raw.startswith(_LINE_START) and parse_line(line.raw) is None


def _with_lookahead(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each line, and whether it is the last one."""
    before = None
    for line in lines:
        if before is not None:
            yield before, False
        before = line
    if before is not None:
        yield before, True


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None if there is none."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def assign_lines(
    lines: Sequence[ResultLine], items: Sequence[WorkItem], *, ids_are_fixed: bool
) -> list[ResultLine | None]:
    """Return for each item the line with its result, or None.

    Each item takes the newest line that has its key and its id. An item without one takes a line
    that has its key and belongs to no other item, because ids change when files are renamed or
    lines are inserted; not with `ids_are_fixed`.
    """
    unassigned = {(line.key, line.id): line for line in lines}
    assigned = [unassigned.pop((item.key, item.row.id), None) for item in items]
    if ids_are_fixed:
        return assigned
    spare = defaultdict[str, list[ResultLine]](list)
    for line in sorted(unassigned.values(), key=lambda line: not line.failed):
        spare[line.key].append(line)  # answers last: they are taken first
    return [
        line or (spare[item.key].pop() if spare.get(item.key) else None)
        for item, line in zip(items, assigned, strict=True)
    ]


def compacted(
    lines: Sequence[ResultLine],
    items: Sequence[WorkItem],
    assigned: Sequence[ResultLine | None],
    *,
    ordered: bool,
    pruned: Collection[ResultLine] = (),
) -> list[tuple[ResultLine, Row | None]]:
    """Return the lines to keep when a run ends, each with its row if that has been renamed.

    The result of an item is kept. Any other line is kept unless it is superseded, repeated or
    `pruned`: so a changed row keeps its old result until it has a new one.
    """
    row_of = {line: item.row for item, line in zip(items, assigned, strict=True) if line}
    ids_with_result = {row.id for row in row_of.values()}
    keys = {item.key for item in items}
    newest = {(line.key, line.id): line for line in lines}

    def is_superseded(line: ResultLine) -> bool:
        was_retried = line.failed and line.key in keys  # perhaps under another id
        return line.id in ids_with_result or was_retried

    def is_repeated(line: ResultLine) -> bool:
        return newest[line.key, line.id] is not line

    left_out = set(pruned)
    kept = [
        line
        for line in lines
        if line in row_of or not (line in left_out or is_superseded(line) or is_repeated(line))
    ]
    if ordered:
        position = {item.row.id: index for index, item in enumerate(items)}
        kept.sort(key=lambda line: position[row_of[line].id] if line in row_of else len(position))
    return [(line, _if_renamed(row_of.get(line), line)) for line in kept]


def _if_renamed(row: Row | None, line: ResultLine) -> Row | None:
    if row is None or (line.id, line.source or row.source) == (row.id, row.source):
        return None
    return row


def _is_incomplete(raw: bytes, line_format: LineFormat, *, only_line: bool) -> bool:
    """Return whether a crash may have cut the last line short, or filled it with zeros.

    If the file has no other lines, the line must begin as a result does.
    """
    if raw.endswith(b"\n") and b"\0" not in raw:
        return False
    line = parse_line(raw)
    if line is not None:
        return line_format.decode(line) is not None  # only the newline is missing
    start = raw.strip(b"\0")[: len(_LINE_START)]
    return not only_line or _LINE_START.startswith(start)
