"""How far batches are: `batch status`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.progress import duration
from mistral_cli.batch.results import open_results
from mistral_cli.batch.run_report import RunReport, RunState
from mistral_cli.system.tables import print_table

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

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
    with open_results(name) as file:
        run, results, failed = file.run, len(file.newest), file.failed
    state = run.state if run else RunState.UNKNOWN
    rate = None
    if run and (seconds := (run.ended_at or run.updated_at) - run.started_at) > 0:
        rate = max(0, results - run.done_before) / seconds
    return BatchStatus(name, state, results - failed, failed, run, rate)


def print_status(names: Sequence[str], terminal: Terminal, *, as_json: bool) -> None:
    """Print how far the batches are, one a line. Raises UsageError."""
    rows = [status_of(name).fields() for name in names]
    show: Mapping[str, Callable[[Any], str]]
    show = dict.fromkeys(("rows", "done", "failed", "left"), "{:,}".format)
    show |= {"seconds_left": duration, "rows_per_second": "{:,.1f}".format}
    print_table(terminal, "batches", rows, _TITLES, as_json=as_json, show=show, shrink="results")
