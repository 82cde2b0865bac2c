"""Resuming: the results in a file, and so which rows are left to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from mistral_cli.batch.digests import FAILED, FLAWED
from mistral_cli.batch.formats import LineSummary
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.batch.formats import LineFormat
    from mistral_cli.batch.options import BatchOptions

_LINE_START = b'{"id": "'
_LINES_TO_RECOGNIZE = 1000  # of a file without a single result, before it is refused


class RowStatus(Enum):
    """What a batch does with a row: process it, or leave it with the result that it has."""

    TO_DO = "to do"
    DONE = "done"
    FAILED = "failed"
    LEFT_OUT = "left out"

    @classmethod
    def of(cls, flags: int | None, options: BatchOptions) -> RowStatus:
        """Return the status of a row whose line has these flags; None for a row without one.

        If only failed checks are processed, a row without a line is left out.
        """
        if flags is None:
            return cls.LEFT_OUT if options.only_failed_checks else cls.TO_DO
        if options.force:
            return cls.TO_DO
        if flags & FAILED:
            return cls.TO_DO if options.retry_failed else cls.FAILED
        is_flawed = options.only_failed_checks and flags & FLAWED
        return cls.TO_DO if is_flawed else cls.DONE


class DamagedLine(NamedTuple):
    """A line of a results file that is not a result any more; `number` counts from 1."""

    number: int
    raw: bytes


class LinesRead(NamedTuple):
    """What is in a results file besides its results: damaged lines, and the end in bytes."""

    damaged: list[DamagedLine]
    end: int


def read_result_lines(
    file: Iterable[bytes],
    line_format: LineFormat,
    name: str,
    add: Callable[[LineSummary, int, int], None],
) -> LinesRead:
    """Call `add` with each line of a file that contains results, its start and its size.

    After a crash the last line may be incomplete: it is left out, for the caller to cut off.
    Raises UsageError if there are other lines but no results: it is a file of another program.
    """
    damaged, end, any_results = list[DamagedLine](), 0, False
    quick = line_format.summary
    for number, (raw, is_last) in enumerate(_with_lookahead(file), start=1):
        if not is_last and (summary := quick(raw)) is not None:  # a million times
            any_results = True
            size = len(raw)
            add(summary, end, size)
            end += size
            continue
        record = None if (line := parse_line(raw)) is None else line_format.decode(line)
        if is_last and _is_incomplete(raw, line_format, only_line=number == 1):
            break
        if record is not None:
            any_results = True
            add(LineSummary.of(record), end, len(raw))
        else:
            damaged.append(DamagedLine(number, raw))
            if not any_results and len(damaged) == _LINES_TO_RECOGNIZE:
                _check_were_results(damaged, name)
        if raw.endswith(b"\n"):
            end += len(raw)
    if not any_results:
        _check_were_results(damaged, name)
    return LinesRead(damaged, end)


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
