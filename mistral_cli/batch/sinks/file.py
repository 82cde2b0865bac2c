"""Results as lines of one file: locked, durable, and recognized by the next run.

Finished rows are gathered for a second at most, then appended and synced as a group; only then are
they reported as done. So a crash loses no row that was reported; at most it leaves the last line
incomplete, which the next run cuts off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mistral_cli.batch.digests import LineColumns, NewLines
from mistral_cli.batch.resume import RowStatus, parse_line, read_result_lines
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system.files import atomic_writer, sync_folder

if TYPE_CHECKING:
    from mistral_cli.batch.digests import DigestSet
    from mistral_cli.batch.formats import LineFormat, Record
    from mistral_cli.batch.index import ResultIndex
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.system.reporter import Reporter

# A sync takes 0.1 ms on a local SSD and 10 to 30 ms on a disk or in a cloud, as long as ten rows or
# a thousand. Rows wait for it no longer than this, and not while no other row is finished.
_GROUP_SECONDS, _IDLE_SECONDS = 1.0, 0.05
_GROUP_BYTES = 4 * 2**20
_SORTED_IN_A_HURRY = 64 * 2**20  # bytes: a stopped run has a second
_RECENT = 1000


_encoder = json.JSONEncoder(ensure_ascii=False)


class ResultsNotWritten(MistralCliError):
    """The results cannot be written: a full disk, a lost mount, no permission."""


class _Expected(NamedTuple):
    """A row that is being processed: its number, the line that is its own now, the newest of it."""

    number: int
    claimed: int
    newest: int


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
        self._path, self._format = path.resolve(), line_format
        if path.exists() and not path.is_file():  # of a pipe in /dev/fd only the link exists
            raise UsageError(
                f"{path} is not a regular file", hint="Leave -o out to write to stdout."
            )
        self._temporary = self._path.with_name(_temporary_name(self._path.name))
        self._file = _open_to_read(self._path) if dry_run else _open_locked(self._path)
        self._group, self._group_began, self._added_at = list[_Added](), 0.0, 0.0
        self._group_bytes = self.written = 0
        self._expected: dict[str, _Expected] = {}
        self._new, self._columns = NewLines(), LineColumns()
        self._ids_are_fixed = ids_are_fixed
        try:
            with io.BufferedReader(_unclosed(self._file), 2**20) as reader:
                read = read_result_lines(reader, line_format, str(path), self._columns.add)
            self._damaged, self._end = read
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

    def claim(self, items: Sequence[WorkItem], options: BatchOptions) -> list[RowStatus]:
        """Return for each item whether it is done, failed or to do, by the lines in the file."""
        if not self._columns:
            none = RowStatus.LEFT_OUT if options.only_failed_checks else RowStatus.TO_DO
            return [none] * len(items)
        index = self._index
        lines = newest = index.claim(items)
        if options.only_failed_checks:
            newest = index.newest_of_ids([item.row.id for item in items])
        status_of = {flags: RowStatus.of(flags, options) for flags in (None, *range(4))}
        found = [status_of[flags] for flags in index.flags_of(newest)]
        if not options.only_failed_checks:
            for place in self._misplaced(items, found):
                found[place] = RowStatus.TO_DO
        settled: list[int] = []
        for place, (status, line) in enumerate(zip(found, newest, strict=True)):
            if status is RowStatus.TO_DO:
                items[place].lines = lines[place], line
            elif line >= 0:
                settled.append(line)
        index.settle(settled)
        return found

    def expect(self, item: WorkItem) -> None:
        """Note that the item is being processed; its record will be added."""
        self._expected[item.row.id] = _Expected(item.number, *item.lines)

    def earlier(self, row_id: str) -> Record | None:
        """Return the newest record of a row that is being processed."""
        expected = self._expected.get(row_id)
        return None if expected is None or expected.newest < 0 else self._record(expected.newest)

    def forget(self, row_id: str) -> None:
        """Note that the row keeps its earlier record: none will be added."""
        self._expected.pop(row_id, None)

    def add(self, record: Record) -> None:
        """Add one result to the group that `flush` writes."""
        raw = _encoded(self._format.encode(record))
        now = time.monotonic()
        if not self._group:
            self._group_began = now
        self._group.append(_Added(record["id"], raw))
        self._group_bytes += len(raw)
        self._added_at = now

    @property
    def is_flush_due(self) -> bool:
        """Whether the group is large or old enough to be written, or nothing more comes."""
        if not self._group:
            return False
        now = time.monotonic()
        return (
            now - self._added_at >= _IDLE_SECONDS
            or now - self._group_began >= _GROUP_SECONDS
            or self._group_bytes >= _GROUP_BYTES
        )

    def flush(self) -> None:
        """Write the group; when this returns, it is on the disk. Raises ResultsNotWritten.

        `written` counts the results on the disk, also after an error: those that had room.
        """
        group, self._group, self._group_bytes = self._group, [], 0
        try:
            self._append(group)
        except ResultsNotWritten:
            if len(group) > 1:
                for added in group:
                    self._append([added])
            raise

    def _append(self, group: Sequence[_Added]) -> None:
        try:
            _write(self._file, b"".join(added.raw for added in group), self._end)
            if group:
                os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise write_error(self._path, error) from error
        for added in group:
            expected = self._expected.pop(added.id, None)
            if expected and expected.claimed >= 0:
                self._index.release(expected.claimed)
            self._new.add(added.id, self._end, len(added.raw), expected.number if expected else -1)
            self._end += len(added.raw)
        self.written += len(group)

    def orphans(self, present: DigestSet) -> int:
        """Return how many results are of rows that are not `present`, by the ids of all rows."""
        return int(self._index.orphans(present).sum()) if self._columns else 0

    def finish(
        self,
        *,
        ordered: bool,
        present: DigestSet | None,
        prune: bool = False,
        hurried: bool = False,
    ) -> None:
        """Reduce the file to the newest line of each row, under the row's present id.

        `present` has the ids of all rows, None if not all were read. With `prune` orphans go too.
        If `hurried`, a large file stays as it is until the next run. Nothing can be added
        afterwards. Raises ResultsNotWritten.
        """
        self.flush()
        try:
            in_place = _is_at(self._file, self._path)
            if in_place and not (self._columns or self._damaged or ordered):
                return
            from mistral_cli.batch.sinks.compaction import Compaction

            compaction = Compaction(
                self._index, self._new, ordered=ordered, present=present, prune=prune
            )
            if in_place:
                if not (self._damaged or compaction.changes):
                    return
                if hurried and self._end > _SORTED_IN_A_HURRY:
                    return
            elif self._path.exists():
                raise UsageError(
                    f"{self._path} was replaced while the batch was running",
                    hint="Choose another -o, or run the same command again.",
                )
            with atomic_writer(self._path, self._temporary) as file:
                os.fchmod(file.fileno(), os.fstat(self._file.fileno()).st_mode & 0o777)
                # A run that gets the old file's lock checks whether the path is still that file.
                file.writelines(compaction.parts(self._bytes, self._rename))
        except OSError as error:
            raise write_error(self._path, error) from error

    def _misplaced(
        self,
        items: Sequence[WorkItem],  # noqa: ARG002
        found: Sequence[RowStatus],  # noqa: ARG002
    ) -> Sequence[int]:
        """Return the places of items that are done, but whose result is not where it belongs."""
        return ()

    @cached_property
    def _index(self) -> ResultIndex:
        from mistral_cli.batch.index import ResultIndex

        return ResultIndex(self._columns, ids_are_fixed=self._ids_are_fixed)

    def _rename(self, raw: bytes, row_id: str, source: str) -> bytes:
        return _encoded(self._format.rename(json.loads(raw), row_id, source))

    def _bytes(self, start: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, start)

    def existing_records(self) -> Iterator[Record]:
        """Yield every result that is in the file now."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            for line in filter(None, map(parse_line, file)):
                if (record := self._format.decode(line)) is not None:
                    yield record

    def recent_records(self) -> Iterator[Record]:
        """Yield the last results of earlier runs, a thousand at most."""
        count = len(self._columns)
        return self._records(range(max(count - _RECENT, 0), count))

    def settled_records(self, *, failed: bool) -> Iterator[Record]:
        """Yield the results of rows that are not processed: failures, or with failed checks."""
        return self._records(self._index.settled(failed=failed) if self._columns else ())

    def _records(self, lines: Iterable[int]) -> Iterator[Record]:
        return filter(None, map(self._record, lines))

    def _record(self, line: int) -> Record | None:
        raw = self._bytes(self._columns.starts[line], self._columns.sizes[line])
        parsed = parse_line(raw)
        return None if parsed is None else self._format.decode(parsed)

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


class _Added(NamedTuple):
    """A result that waits to be written."""

    id: str
    raw: bytes


def write_error(path: Path, error: OSError, *, continues: bool = True) -> ResultsNotWritten:
    """Return the error for a file that cannot be written.

    `continues` says whether the same command does not start over.
    """
    hint = "Free disk space or fix the permissions, then run the same command again"
    return ResultsNotWritten(
        f"cannot write {path}: {error.strerror or error}",
        hint=f"{hint}: it continues where it stopped." if continues else f"{hint}.",
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
    return _encoder.encode(line).encode("utf-8", "backslashreplace") + b"\n"
