"""Check schemas in parallel processes, so that one that crashes or never ends costs only itself."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from mistral_cli.errors import MistralCliError
from mistral_cli.structured.schema import load_schema
from mistral_cli.structured.spec import OutputSpec

ACCEPTED, REFUSED, CRASHED = "accepted", "refused", "crashed"
MODES = ("plain", "grounded")

_PROCESSES = multiprocessing.get_context("spawn")


@dataclass
class Check:
    """What became of one schema in one mode."""

    outcome: str
    reason: str = ""
    unenforced: list[str] = field(default_factory=list)
    seconds: float = 0.0


def check_files(
    files: Sequence[Path], workers: int, most_seconds: float
) -> Iterator[tuple[Path, dict[str, Check]]]:
    """Yield each of `files` with its check in each mode, as they become ready."""
    remaining = iter(files)
    pool = [_Worker() for _ in range(min(workers, len(files)))]
    busy = [worker for worker in pool if worker.give(next(remaining, None))]
    while busy:
        wait([worker.connection for worker in busy], timeout=1)
        for worker in busy:
            if done := worker.poll(most_seconds):
                yield done
                worker.give(next(remaining, None))
        busy = [worker for worker in busy if worker.file]
    for worker in pool:
        worker.end()


class _Worker:
    """A process that checks one file at a time; it is replaced when it dies or takes too long."""

    connection: Connection
    _process: SpawnProcess

    def __init__(self) -> None:
        self.file: Path | None = None
        self._given = 0.0
        self._start()

    def give(self, file: Path | None) -> bool:
        self.file, self._given = file, time.monotonic()
        if file:
            self.connection.send(str(file))
        return file is not None

    def poll(self, most_seconds: float) -> tuple[Path, dict[str, Check]] | None:
        """Return the file and its checks once they are ready."""
        assert self.file
        seconds = time.monotonic() - self._given
        try:
            if self.connection.poll():
                checks = self.connection.recv()
                return self.file, {mode: Check(**each) for mode, each in checks.items()}
            if seconds < most_seconds:
                return None
            reason = f"no end after {most_seconds:.0f} s"
        except EOFError:
            self._process.join()
            reason = f"the process ended with status {self._process.exitcode}"
        self.end()
        self._start()
        return self.file, {mode: Check(CRASHED, reason, seconds=seconds) for mode in MODES}

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _start(self) -> None:
        self.connection, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def _serve(connection: Connection) -> None:
    OutputSpec({}, grounded=True).check()  # the imports take a second
    while True:
        file = Path(connection.recv())
        connection.send({mode: asdict(_check(file, mode)) for mode in MODES})


def _check(file: Path, mode: str) -> Check:
    started = time.perf_counter()
    try:
        schema = load_schema(str(file))
        unenforced = OutputSpec(schema, grounded=mode == "grounded").check()
        result = Check(ACCEPTED, unenforced=unenforced)
    except MistralCliError as error:
        result = Check(REFUSED, error.message)
    except Exception as error:
        result = Check(CRASHED, f"{type(error).__name__}: {error}"[:300])
    result.seconds = time.perf_counter() - started
    return result


def checks_as_json(checks: dict[str, Check]) -> dict[str, Any]:
    """Return what does not change from run to run."""
    return {
        mode: {"outcome": each.outcome, "reason": each.reason, "unenforced": each.unenforced}
        for mode, each in checks.items()
    }
