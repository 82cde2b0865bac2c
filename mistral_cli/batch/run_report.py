"""What a run of a batch reports of itself: how many rows there are, and how it ended.

The report is a hidden JSON file beside the results, `.NAME.status`, replaced as a whole. Which rows
are done the results say themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from mistral_cli.system.files import atomic_writer

_VERSION = 1
_REFRESH_SECONDS = 2.0
_SILENT_SECONDS = 60.0  # a run on another machine that has reported nothing for so long has ended

_KINDS = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "float | None": (int, float, type(None)),
}
"""What a field of the file may be, by the annotation of its attribute."""


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
            for each in fields(cls):
                if not isinstance(content.get(each.name), _KINDS[str(each.type)]):
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
        self._counts: dict[str, Any] = {}
        self._written_at = float("-inf")
        self._write()

    def update(self, rows_read: int, rows: int | None, *, done_before: int) -> None:
        """Report how many rows were read, and how many there are if that is known by now.

        `done_before` are the rows read that had their results before this run.
        """
        self._counts = {"rows_read": rows_read, "rows": rows, "done_before": done_before}
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
        self._report = replace(self._report, updated_at=time.time(), **self._counts)
        line = json.dumps(self._report.fields(), ensure_ascii=False) + "\n"
        with contextlib.suppress(OSError):
            # The same name in each run, so that one removes the file that a killed run left.
            temporary = self._path.with_name(f"{self._path.name}.tmp")
            temporary.unlink(missing_ok=True)
            with atomic_writer(self._path, temporary) as file:
                file.write(line.encode("utf-8", "backslashreplace"))


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
