"""How far a batch is: what a run reports of itself beside its results, and how that is read.

The report is a hidden JSON file, `.NAME.status`, that is replaced as a whole. The results
themselves say which rows are done; the report adds what they cannot: how many rows there are, which
share of them this is, and how the run ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mistral_cli.batch.formats import format_of
from mistral_cli.batch.progress import duration
from mistral_cli.batch.resume import read_result_lines
from mistral_cli.batch.sinks.open import lines_file
from mistral_cli.errors import UsageError
from mistral_cli.system.files import write_atomically
from mistral_cli.system.tables import print_table

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

_VERSION = 1
_TITLES = {
    "results": "results",
    "state": "state",
    "shard": "shard",
    "rows": "rows",
    "done": "done",
    "failed": "failed",
    "left": "left",
    "rows_per_second": "rows/s",
    "seconds_left": "time left",
    "message": "message",
}
_REFRESH_SECONDS = 2.0
_SILENT_SECONDS = 60.0  # a run on another machine that has reported nothing for so long has ended


class RunState(StrEnum):
    """Whether a run goes on, or how it ended."""

    RUNNING = "running"
    ENDED = "ended"
    STOPPED = "stopped"
    KILLED = "killed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RunReport:
    """What a run reports of itself. Times are Unix times.

    `rows` is the number of rows, of this shard if there is one: None until all are read.
    `exit_code` and `ended_at` are None while it runs.
    """

    command: str
    model: str
    engine: str
    shard: str | None = None
    rows: int | None = None
    rows_read: int = 0
    done_before: int = 0
    started_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    exit_code: int | None = None
    message: str | None = None
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)

    def fields(self) -> dict[str, Any]:
        """Return the JSON object of the file."""
        return {
            "version": _VERSION,
            "command": self.command,
            "model": self.model,
            "engine": self.engine,
            "shard": self.shard,
            "rows": self.rows,
            "rows_read": self.rows_read,
            "done_before": self.done_before,
            "started_at": round(self.started_at, 3),
            "updated_at": round(self.updated_at, 3),
            "ended_at": None if self.ended_at is None else round(self.ended_at, 3),
            "exit_code": self.exit_code,
            "message": self.message,
            "host": self.host,
            "pid": self.pid,
        }

    @classmethod
    def read(cls, results: Path) -> Self | None:
        """Return the report beside `results`, or None if there is none that can be read."""
        try:
            content = json.loads(report_path(results).read_bytes())
            if not isinstance(content, dict) or content.pop("version") != _VERSION:
                return None
            return cls(**content)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @property
    def state(self) -> RunState:
        """Whether the run goes on, or how it ended."""
        if self.ended_at is not None:
            finished = self.exit_code in (0, 10)
            return RunState.ENDED if finished else RunState.STOPPED
        if self.host == socket.gethostname():
            return RunState.RUNNING if _is_alive(self.pid) else RunState.KILLED
        silent = time.time() - self.updated_at > _SILENT_SECONDS
        return RunState.KILLED if silent else RunState.RUNNING


class StatusFile:
    """Keeps the report of a run up to date, beside the lines of its results.

    It is an aid: a report that cannot be written does not stop the run.
    """

    def __init__(self, results: Path, report: RunReport) -> None:
        self._path = report_path(results)
        self._report = report
        self._written_at = float("-inf")
        self._write()

    def update(self, rows_read: int, rows: int | None, *, done_before: int) -> None:
        """Report how many rows were read, and how many there are if that is known by now.

        `done_before` are the rows read that had their results before this run.
        """
        self._report = replace(
            self._report, rows_read=rows_read, rows=rows, done_before=done_before
        )
        if time.monotonic() - self._written_at >= _REFRESH_SECONDS:
            self._write()

    def end(self, exit_code: int, message: str | None) -> None:
        """Report how the run ended; `message` is that of its error."""
        self._report = replace(
            self._report, ended_at=time.time(), exit_code=exit_code, message=message
        )
        self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        self._report = replace(self._report, updated_at=time.time())
        line = json.dumps(self._report.fields(), ensure_ascii=False) + "\n"
        with contextlib.suppress(OSError):
            write_atomically(self._path, line.encode("utf-8", "backslashreplace"))


@dataclass(frozen=True)
class BatchStatus:
    """How far the batch is whose results are in `results`; `rate` is in rows a second.

    `rows`, `left` and `seconds_left` are None as far as nobody knows how many rows there are.
    """

    results: str
    state: RunState
    done: int
    failed: int
    run: RunReport | None
    rate: float | None

    @property
    def left(self) -> int | None:
        """The rows without a result."""
        rows = self.run.rows if self.run else None
        return None if rows is None else max(0, rows - self.done - self.failed)

    @property
    def seconds_left(self) -> float | None:
        """The time that a running batch still takes, at its rate so far."""
        if self.state is not RunState.RUNNING or self.left is None or not self.rate:
            return None
        return self.left / self.rate

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        run = self.run
        return {
            "results": self.results,
            "state": str(self.state),
            "shard": run.shard if run else None,
            "rows": run.rows if run else None,
            "done": self.done,
            "failed": self.failed,
            "left": self.left,
            "rows_per_second": None if self.rate is None else round(self.rate, 3),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left),
            "command": run.command if run else None,
            "model": run.model if run else None,
            "engine": run.engine if run else None,
            "started_at": run.started_at if run else None,
            "updated_at": run.updated_at if run else None,
            "ended_at": run.ended_at if run else None,
            "exit_code": run.exit_code if run else None,
            "message": run.message if run else None,
        }


def status_of(name: str) -> BatchStatus:
    """Return how far the batch is that writes its results to `name`. Raises UsageError."""
    path = lines_file(Path(name))
    run = RunReport.read(path)
    done, failed = _count(path, name)
    state = run.state if run else RunState.UNKNOWN
    rate = None
    if run and (seconds := (run.ended_at or run.updated_at) - run.started_at) > 0:
        rate = max(0, done + failed - run.done_before) / seconds
    return BatchStatus(name, state, done, failed, run, rate)


def print_status(names: Sequence[str], terminal: Terminal, *, as_json: bool) -> None:
    """Print how far the batches are, one a line. Raises UsageError."""
    rows = [status_of(name).fields() for name in names]
    show: Mapping[str, Callable[[Any], str]]
    show = dict.fromkeys(("rows", "done", "failed", "left"), "{:,}".format)
    show |= {"seconds_left": duration, "rows_per_second": "{:,.1f}".format}
    print_table(terminal, "batches", rows, _TITLES, as_json=as_json, show=show, shrink="results")


def _count(path: Path, name: str) -> tuple[int, int]:
    """Return how many rows are answered and failed, each by its newest line."""
    newest: dict[str, bool] = {}
    try:
        with path.open("rb") as file:
            line_format = format_of(file)
            read_result_lines(
                file, line_format, name, lambda line, *_: newest.update({line.id: line.failed})
            )
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read: {error.strerror}", hint="Name results of a batch."
        ) from error
    failed = sum(newest.values())
    return len(newest) - failed, failed


def report_path(results: Path) -> Path:
    """Return where the report about a results file lies."""
    return results.with_name(f".{results.name.removeprefix('.')}.status")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
