"""The file of results: one JSON line a row, locked, durable, and known again by the next run.

A line is appended and synced when its row is finished, so that nothing which was reported as
done is lost by a crash, and at most the last line is torn, which the next run cuts off.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mistral_cli.batch.asks import Item
from mistral_cli.batch.lines import Lines
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.terminal import Terminal

_GO_ON = "The same command goes on from there."


class ResultsFailed(MistralCliError):
    """The results cannot be written: a full disk, a lost mount, no permission."""


@dataclass
class Matched:
    """Which items are to be done, and which are done: well, or having failed."""

    todo: list[Item]
    done: list[Item]
    failed: list[Item]


class Results:
    """An open results file, held by this process alone. Close it in the end."""

    def __init__(self, path: Path, lines: Lines, terminal: Terminal) -> None:
        """Open, lock, and cut off a torn last line.

        Raises UsageError for a file that another run holds, or that holds something else.
        """
        self.path, self._lines = path, lines
        self._file = _locked(path)
        try:
            self._repair(terminal)
            self._known = defaultdict[str, list[dict[str, Any]]](list)
            for line in self._read():
                self._known[lines.key(line)].append(line)
        except BaseException:
            self._file.close()
            raise

    def match(self, items: Sequence[Item], *, retry_failed: bool, force: bool) -> Matched:
        """Tell what is to be done from what is done, by the identity of each."""
        matched = Matched([], [], [])
        left = {key: list(lines) for key, lines in self._known.items()}
        for item in items:
            mine = left.get(item.key, [])
            # Rows of the same content each have a result; the id says whose is whose.
            mine.sort(key=lambda line: self._lines.id(line) != item.row.id)
            line = mine.pop(0) if mine else None
            if line is None or force:
                matched.todo.append(item)
            elif not self._lines.failed(line):
                matched.done.append(item)
            elif retry_failed:
                matched.todo.append(item)
            else:
                matched.failed.append(item)
        return matched

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one result; when this returns, it is on the disk. Raises ResultsFailed."""
        line = _encoded(self._lines.line(record))
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), end)
            raise _failed(self.path, error) from error

    def finish(self, items: Sequence[Item], *, ordered: bool) -> None:
        """Leave one line for each row: the last, under the row's present id.

        Lines about rows that are not among `items` stay. Raises ResultsFailed.
        """
        lines = list(self._read())
        wanted = self._tidy(lines, items, ordered=ordered)
        if wanted == lines:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.writelines(map(_encoded, wanted))
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(self.path.stat().st_mode & 0o777)
            # A run that waits for the old file's lock looks whether that is still the file.
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _failed(self.path, error) from error

    def records(self) -> Iterator[dict[str, Any]]:
        """Every result that is in the file now."""
        with self.path.open("rb") as file:
            yield from map(self._lines.record, map(json.loads, file))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _tidy(
        self, lines: list[dict[str, Any]], items: Sequence[Item], *, ordered: bool
    ) -> list[dict[str, Any]]:
        newest = defaultdict[str, list[dict[str, Any]]](list)
        for line in lines:
            newest[self._lines.key(line)].append(line)
        names = {item.row.id for item in items}
        kept = [line for line in lines if self._lines.id(line) not in names]
        ours: dict[int, dict[str, Any]] = {}
        for item in items:
            mine = newest[item.key]
            mine.sort(key=lambda line: self._lines.id(line) != item.row.id)
            same = [line for line in mine if self._lines.id(line) == item.row.id] or mine[:1]
            if same:
                line = same[-1]
                newest[item.key] = [each for each in mine if each not in same]
                kept = [each for each in kept if each is not line]
                ours[id(line)] = self._lines.renamed(line, item.row)
        mine_in_order = (
            list(ours.values())
            if ordered
            else [ours[id(line)] for line in lines if id(line) in ours]
        )
        return kept + mine_in_order

    def _read(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        for number, raw in enumerate(self._file, start=1):
            line = _parsed(raw)
            if line is None or not self._lines.key(line):
                raise UsageError(
                    f"line {number} of {self.path} is no result of a batch in this format",
                    hint="Name another file with -o.",
                )
            yield line

    def _repair(self, terminal: Terminal) -> None:
        """Cut off a last line that is not whole: the crash came while it was written."""
        data_end, good = self._file.seek(0, os.SEEK_END), 0
        last = b""
        self._file.seek(0)
        for raw in self._file:
            last = raw
            good += len(raw)
        if last and (not last.endswith(b"\n") or _parsed(last) is None):
            torn = good - len(last)
            if torn == 0 and not last.lstrip(b"\0").startswith(b"{") and last.strip(b"\0"):
                return  # no result of ours was ever here: reading says so
            os.ftruncate(self._file.fileno(), torn)
            terminal.warn(
                f"the last line of {self.path} was torn ({data_end - torn} bytes): its row is "
                "done again"
            )


def _locked(path: Path) -> BinaryIO:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError as error:
            raise _failed(path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UsageError(
                    f"another run is writing to {path}", hint="Wait for it, or use another -o."
                ) from error
            raise _failed(path, error) from error
        # Whoever held it may have put a new file in its place when it finished.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _failed(path: Path, error: OSError) -> ResultsFailed:
    return ResultsFailed(
        f"cannot write {path}: {error.strerror or error}",
        hint=f"Free the disk or mend its permissions. {_GO_ON}",
    )
