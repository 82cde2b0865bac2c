"""The file of results: one JSON line a row, locked, durable, and known again by the next run.

A line is appended and synced when its row is finished, so that nothing which was reported as
done is lost by a crash, and at most the last line is torn, which the next run cuts off.
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
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.resume import (
    Entry,
    Matched,
    assign,
    entries_of,
    entry_of,
    match,
    parsed,
    tidied,
)
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system.files import replacing, sync_folder

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Lines
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.prompts import Item
    from mistral_cli.system.reporter import Reporter


class ResultsFailed(MistralCliError):
    """The results cannot be written: a full disk, a lost mount, no permission."""


class Results:
    """An open results file, held by this process alone. Close it in the end."""

    def __init__(
        self, path: Path, lines: Lines, reporter: Reporter, *, dry_run: bool, ids_are_kept: bool
    ) -> None:
        """Open, lock, and cut off a torn last line; in a dry run only read.

        With `ids_are_kept` no result passes to another id, though the content be the same.
        Raises UsageError for a file that another run holds, or that holds something else.
        """
        self.path, self._lines, self._ids_are_kept = path.resolve(), lines, ids_are_kept
        if path.exists() and not path.is_file():  # of a pipe in /dev/fd only the link exists
            raise UsageError(f"{path} is no file", hint="Leave -o out to write to stdout.")
        self._temporary = self.path.with_name(_temporary_name(self.path.name))
        self._file = _opened(self.path) if dry_run else _locked(self.path)
        try:
            with io.BufferedReader(_unclosed(self._file)) as reader:
                self._entries, self._end = entries_of(reader, lines, str(path))
            if not dry_run:
                self._clean_up(reporter)
        except BaseException:
            self._file.close()
            raise

    @property
    def ids(self) -> set[str]:
        """The rows that it tells of."""
        return {entry.id for entry in self._entries}

    def match(self, items: Sequence[Item], *, retry_failed: bool, force: bool) -> Matched:
        """Tell what is to be done from what is done, by the identity of each."""
        assigned = assign(self._entries, items, ids_are_kept=self._ids_are_kept)
        return match(items, assigned, retry_failed=retry_failed, force=force)

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one result; when this returns, it is on the disk. Raises ResultsFailed."""
        line = self._lines.line(record)
        raw = _encoded(line)
        try:
            _write(self._file, raw, self._end)
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise failed_to_write(self.path, error) from error
        self._entries.append(entry_of(line, self._lines, self._end, len(raw)))
        self._end += len(raw)

    def finish(self, items: Sequence[Item], *, ordered: bool) -> None:
        """Leave one line for each row: the last, under the row's present id.

        Raises ResultsFailed. Nothing can be added afterwards.
        """
        assigned = assign(self._entries, items, ids_are_kept=self._ids_are_kept)
        wanted = tidied(self._entries, items, assigned, ordered=ordered)
        try:
            if _is_at(self._file, self.path):
                if wanted == [(entry, None) for entry in self._entries]:
                    return
            elif self.path.exists():
                raise UsageError(
                    f"while the batch ran, {self.path} became another file",
                    hint="Use another -o, or run the same command again.",
                )
            with replacing(self.path, self._temporary) as file:
                os.fchmod(file.fileno(), os.fstat(self._file.fileno()).st_mode & 0o777)
                # A run that waits for the old file's lock looks whether that is still the file.
                file.writelines(self._raw(entry, row) for entry, row in wanted)
        except OSError as error:
            raise failed_to_write(self.path, error) from error

    def records(self) -> Iterator[dict[str, Any]]:
        """Every result that is in the file now."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            yield from map(self._lines.record, filter(None, map(parsed, file)))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _raw(self, entry: Entry, row: Row | None) -> bytes:
        raw = os.pread(self._file.fileno(), entry.size, entry.start)
        return raw if row is None else _encoded(self._lines.renamed(json.loads(raw), row))

    def _clean_up(self, reporter: Reporter) -> None:
        """Remove what a crash may have left."""
        try:
            self._temporary.unlink(missing_ok=True)
            if torn := os.fstat(self._file.fileno()).st_size - self._end:
                self._file.truncate(self._end)
                reporter.warn(
                    f"the last line of {self.path} was torn ({torn} bytes): its row is done again"
                )
        except OSError as error:
            raise failed_to_write(self.path, error) from error


def failed_to_write(path: Path, error: OSError) -> ResultsFailed:
    """The error for a file that takes no result."""
    return ResultsFailed(
        f"cannot write {path}: {error.strerror or error}",
        hint="Free the disk or mend its permissions. The same command goes on from there.",
    )


def _opened(path: Path) -> io.FileIO:
    """The file to read; nothing where there is none."""
    try:
        return io.FileIO(path if path.exists() else os.devnull)
    except OSError as error:
        raise failed_to_write(path, error) from error


def _locked(path: Path) -> io.FileIO:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not buffered: what a full disk refuses would be written again when it is closed.
            file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        except OSError as error:
            raise failed_to_write(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have put a new file in its place when it finished.
            if _is_at(file, path):
                sync_folder(path.parent)
                return file
        except BlockingIOError as error:
            file.close()
            raise UsageError(
                f"another run is writing to {path}", hint="Wait for it, or use another -o."
            ) from error
        except OSError as error:
            file.close()
            raise failed_to_write(path, error) from error
        file.close()


def _is_at(file: io.FileIO, path: Path) -> bool:
    """Whether `file` is still what stands at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _unclosed(file: io.FileIO) -> io.FileIO:
    return io.FileIO(file.fileno(), closefd=False)


def _write(file: io.FileIO, data: bytes, start: int) -> None:
    """All of `data`; one call may write less."""
    done = 0
    while done < len(data):
        done += os.pwrite(file.fileno(), memoryview(data)[done:], start + done)


def _temporary_name(name: str) -> str:
    """The same for each run, so that one removes what another left when it was killed."""
    return f".mistral-cli-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.tmp"


def _encoded(line: Mapping[str, Any]) -> bytes:
    # What UTF-8 has no bytes for, a lone surrogate, becomes the very escape that JSON has for it.
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
