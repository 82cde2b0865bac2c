"""Results as lines of one file: locked, durable, and recognized by the next run.

A line is appended and synced when its row is finished. So a crash loses no row that was reported
as done; at most it leaves the last line incomplete, which the next run cuts off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mistral_cli.batch.orphans import orphaned
from mistral_cli.batch.resume import (
    ResultLine,
    ResumePlan,
    assign_lines,
    compacted,
    parse_line,
    read_result_lines,
)
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system.files import atomic_writer, sync_folder

if TYPE_CHECKING:
    from mistral_cli.batch.formats import LineFormat, Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.system.reporter import Reporter


class ResultsNotWritten(MistralCliError):
    """The results cannot be written: a full disk, a lost mount, no permission."""


class FileSink:
    """An open results file, locked by this process. A context manager."""

    def __init__(
        self,
        path: Path,
        line_format: LineFormat,
        reporter: Reporter,
        *,
        dry_run: bool,
        ids_are_fixed: bool = False,
    ) -> None:
        """Open and lock the file and cut off an incomplete last line; in a dry run only read it.

        Damaged lines are copied to a file beside it; `finish` removes them from the results file.

        With `ids_are_fixed` a result belongs to the row of its id only, even if another row has
        the same content. Raises UsageError if another run holds the file or if it contains
        anything but results.
        """
        self.name = str(path)
        self._path, self._format, self._ids_are_fixed = path.resolve(), line_format, ids_are_fixed
        if path.exists() and not path.is_file():  # of a pipe in /dev/fd only the link exists
            raise UsageError(
                f"{path} is not a regular file", hint="Leave -o out to write to stdout."
            )
        self._temporary = self._path.with_name(_temporary_name(self._path.name))
        self._file = _open_to_read(self._path) if dry_run else _open_locked(self._path)
        try:
            with io.BufferedReader(_unclosed(self._file)) as reader:
                lines = read_result_lines(reader, line_format, str(path))
            self._lines, self._damaged, self._end = lines
            if not dry_run:
                self._set_damaged_aside()
                self._clean_up(reporter)
            if self._damaged:
                reporter.warn(self._about_damaged())
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which releases the lock."""
        self._file.close()

    def resume_plan(self, items: Sequence[WorkItem], options: BatchOptions) -> ResumePlan:
        """Divide the items into done, failed and left to do, by the lines in the file."""
        if options.only_failed_checks:
            return ResumePlan.of_failed_checks(
                items, self._lines, retry_failed=options.retry_failed
            )
        return ResumePlan.of(
            items, self._assign(items), retry_failed=options.retry_failed, force=options.force
        )

    def add(self, record: Record) -> None:
        """Append one result; when this returns, it is on the disk. Raises ResultsNotWritten."""
        raw = _encoded(self._format.encode(record))
        try:
            _write(self._file, raw, self._end)
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise write_error(self._path, error) from error
        self._lines.append(ResultLine.of(record, self._end, len(raw)))
        self._end += len(raw)

    def orphans(self, items: Sequence[WorkItem]) -> list[ResultLine]:
        """Return the results of rows that are not among `items`."""
        return orphaned(self._lines, items, self._assign(items))

    def finish(self, items: Sequence[WorkItem], *, ordered: bool, prune: bool = False) -> None:
        """Reduce the file to the newest line of each row, under the row's present id.

        With `prune` orphans go too. Nothing can be added afterwards. Raises ResultsNotWritten.
        """
        pruned = self.orphans(items) if prune else ()
        assigned = self._assign(items)
        kept = compacted(self._lines, items, assigned, ordered=ordered, pruned=pruned)
        try:
            if _is_at(self._file, self._path):
                if kept == [(line, None) for line in self._lines] and not self._damaged:
                    return
            elif self._path.exists():
                raise UsageError(
                    f"{self._path} was replaced while the batch was running",
                    hint="Choose another -o, or run the same command again.",
                )
            with atomic_writer(self._path, self._temporary) as file:
                os.fchmod(file.fileno(), os.fstat(self._file.fileno()).st_mode & 0o777)
                # A run that gets the old file's lock checks whether the path is still that file.
                file.writelines(self._raw(line, row) for line, row in kept)
        except OSError as error:
            raise write_error(self._path, error) from error

    def existing_records(self) -> Iterator[Record]:
        """Yield every result that is in the file now."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            for line in filter(None, map(parse_line, file)):
                if (record := self._format.decode(line)) is not None:
                    yield record

    @property
    def has_failed_checks(self) -> bool:
        """Whether an answer in the file failed a check."""
        return any(line.checks_failed for line in self._lines)

    @property
    def existing_ids(self) -> set[str]:
        """The ids of the rows that have a line."""
        return {line.id for line in self._lines}

    def _set_damaged_aside(self) -> None:
        """Append the damaged lines to a file, unless an earlier run that was killed has done so."""
        path = self._damaged_path
        try:
            known = _lines_of(path)
            new = [raw for raw in self._damaged_lines() if raw not in known]
            if new:
                with path.open("ab") as file:
                    os.fchmod(file.fileno(), os.fstat(self._file.fileno()).st_mode & 0o777)
                    file.writelines(new)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise write_error(path, error) from error

    def _damaged_lines(self) -> list[bytes]:
        return [line.raw.removesuffix(b"\n") + b"\n" for line in self._damaged]

    def _about_damaged(self) -> str:
        count, first = len(self._damaged), self._damaged[0].number
        if count == 1:
            return (
                f"line {first} of {self._path} is damaged: it is kept in "
                f"{self._damaged_path.name}, and its row will be processed again"
            )
        return (
            f"{count:,} lines of {self._path} are damaged, the first is line {first}: they are "
            f"kept in {self._damaged_path.name}, and their rows will be processed again"
        )

    @property
    def _damaged_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.damaged")

    @property
    def damaged_results(self) -> int:
        """How many results damaged lines may have held, now or earlier: two can have merged."""
        lines = {*_lines_of(self._damaged_path), *self._damaged_lines()}
        return sum(max(1, line.count(b'"key": "')) for line in lines)

    def _assign(self, items: Sequence[WorkItem]) -> list[ResultLine | None]:
        return assign_lines(self._lines, items, ids_are_fixed=self._ids_are_fixed)

    def _raw(self, line: ResultLine, renamed: Row | None) -> bytes:
        raw = os.pread(self._file.fileno(), line.size, line.start)
        if renamed is None:
            return raw
        return _encoded(self._format.rename(json.loads(raw), renamed))

    def _clean_up(self, reporter: Reporter) -> None:
        """Remove what a crash may have left."""
        try:
            self._temporary.unlink(missing_ok=True)
            if excess := os.fstat(self._file.fileno()).st_size - self._end:
                self._file.truncate(self._end)
                reporter.warn(
                    f"the last line of {self._path} was incomplete ({excess} bytes); it was "
                    "removed, and its row will be processed again"
                )
        except OSError as error:
            raise write_error(self._path, error) from error


def write_error(path: Path, error: OSError) -> ResultsNotWritten:
    """Return the error for a file that cannot be written."""
    return ResultsNotWritten(
        f"cannot write {path}: {error.strerror or error}",
        hint="Free disk space or fix the permissions, then run the same command again: it "
        "continues where it stopped.",
    )


def _open_to_read(path: Path) -> io.FileIO:
    """Open the file for reading; a missing file is an empty one."""
    try:
        return io.FileIO(path if path.exists() else os.devnull)
    except OSError as error:
        raise write_error(path, error) from error


def _open_locked(path: Path) -> io.FileIO:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer that a full disk refused would be written again on close.
            file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        except OSError as error:
            raise write_error(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The run that held the lock may have replaced the file when it finished.
            if _is_at(file, path):
                sync_folder(path.parent)
                return file
        except BlockingIOError as error:
            file.close()
            raise UsageError(
                f"another run is writing to {path}",
                hint="Wait until it ends, or choose another file with -o.",
            ) from error
        except OSError as error:
            file.close()
            raise write_error(path, error) from error
        file.close()


def _is_at(file: io.FileIO, path: Path) -> bool:
    """Return whether `path` still leads to the open `file`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lines_of(path: Path) -> set[bytes]:
    """Return the lines of a file, none if it is missing."""
    try:
        with path.open("rb") as file:
            return set(file)
    except FileNotFoundError:
        return set()


def _unclosed(file: io.FileIO) -> io.FileIO:
    return io.FileIO(file.fileno(), closefd=False)


def _write(file: io.FileIO, data: bytes, start: int) -> None:
    """Write all of `data`; one call of pwrite may write less."""
    done = 0
    while done < len(data):
        done += os.pwrite(file.fileno(), memoryview(data)[done:], start + done)


def _temporary_name(name: str) -> str:
    """Return the same name in each run, so that one removes the file that a killed run left."""
    return f".mistral-cli-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.tmp"


def _encoded(line: Mapping[str, Any]) -> bytes:
    # UTF-8 cannot encode a lone surrogate: it becomes the escape that JSON has for it.
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
