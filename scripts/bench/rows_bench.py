"""Measure how a batch scales with its rows: time, memory, resuming and dry runs.

Two kinds of runs: the whole program, with the fake engine in its own process, and runs in which
nothing answers: each row gets a copy of one result at once, so that reading, keys, the index, the
results file and the summary remain, for a million rows in minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INSTANT = "--instant-program"
_READY = "first row sent after "


def main() -> None:
    if _INSTANT in sys.argv:
        sys.argv.remove(_INSTANT)
        instant_program()
        return
    options = arguments()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        bench = Bench(Path(name), options.model)
        report(bench, options.rows, options.whole_rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="of the runs without an engine")
    parser.add_argument("--whole-rows", type=int, default=2_000, help="of the whole program")
    parser.add_argument("--model", required=True, help="a GGUF file; only its vocabulary is used")
    parser.add_argument("--folder", help="where to put some GB for a million rows")
    return parser.parse_args()


@dataclass(frozen=True)
class Measured:
    """What one run took: seconds, CPU seconds, peak bytes, and when its first row was sent.

    `ready` are seconds, and the CPU seconds among them: on a busy machine they are fewer.
    """

    seconds: float
    cpu: float
    peak: int
    ready: tuple[float, float] | None
    stdout: str


@dataclass
class Bench:
    folder: Path
    model: str

    def inputs(self, rows: int) -> Path:
        """Write rows of 100 bytes."""
        path = self.folder / f"{rows}.jsonl"
        if not path.exists():
            with path.open("w") as file:
                for number in range(rows):
                    text = f"Row {number} asks about the delivery of the parcel {number * 7919}."
                    line = json.dumps({"id": str(number), "text": text})
                    file.write(line[:-2].ljust(97) + '"}\n')
        return path

    def run(self, rows: int, *more: str, instant: bool = False) -> Measured:
        """Run the batch; the results file is `out-ROWS.jsonl`."""
        program = [__file__, _INSTANT] if instant else ["-m", "mistral_cli"]
        command = [sys.executable, *program, "batch", "generate", str(self.inputs(rows)), "-q"]
        command += ["-o", str(self.results(rows)), "--engine", "fake", "-m", self.model, *more]
        started = time.perf_counter()
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watch = Watch(running.pid)
        stdout, stderr = running.communicate()
        seconds = time.perf_counter() - started
        assert running.returncode == 0, stderr.decode()
        _, found, ready = stderr.decode().rpartition(_READY)
        at = (float(ready.split()[0]), float(ready.split()[1])) if found else None
        return Measured(seconds, watch.cpu, watch.peak, at, stdout.decode())

    def results(self, rows: int) -> Path:
        return self.folder / f"out-{rows}.jsonl"

    def lines(self, rows: int) -> int:
        with self.results(rows).open("rb") as file:
            return sum(1 for _ in file)

    def cut(self, rows: int, kept: int) -> None:
        """Keep only the first lines of the results."""
        with self.results(rows).open("rb+") as file:
            for _ in range(kept):
                file.readline()
            file.truncate(file.tell())


class Watch:
    """Reads the memory and CPU time of a process and its children until it ends."""

    def __init__(self, pid: int) -> None:
        self.peak, self.cpu = 0, 0.0
        self._pid = pid
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while Path(f"/proc/{self._pid}").exists():
            with suppress(OSError, IndexError, ValueError):
                tree = [self._pid]
                for pid in tree:
                    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                    tree += map(int, children)
                self.peak = max(self.peak, sum(map(_resident, tree)))
                self.cpu = _cpu(self._pid)
            time.sleep(0.05)


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(bench: Bench, rows: int, whole_rows: int) -> None:
    start = bench.run(1, instant=True)
    print(f"start: {start.seconds:.1f} s, {start.cpu:.2f} s of CPU, {start.peak / 1e6:.0f} MB\n")
    print("| run | rows | s | CPU ms a row, ours | peak MB |\n|---|---|---|---|---|")

    def show(name: str, count: int, measured: Measured) -> None:
        each = 1000 * (measured.cpu - start.cpu) / count
        took = f"{measured.seconds:.1f} | {each:.3f} | {measured.peak / 1e6:.0f}"
        print(f"| {name} | {count:,} | {took} |", flush=True)

    for count in (whole_rows, 2 * whole_rows):
        show("whole program", count, bench.run(count))
        assert bench.lines(count) == count
    once = bench.run(rows, instant=True)
    show("without an engine", rows, once)
    assert bench.lines(rows) == rows
    bench.cut(rows, rows - min(1000, rows // 2))
    resumed = bench.run(rows, instant=True)
    show("resumed", rows, resumed)
    assert bench.lines(rows) == rows
    twice = bench.run(2 * rows, instant=True)
    show("without an engine", 2 * rows, twice)
    bench.results(rows).unlink()
    dry = bench.run(rows, "--dry-run")
    show("dry run", rows, dry)
    assert json.loads(dry.stdout)["to_do"] == rows
    assert resumed.ready
    print("\nready to resume after {:.1f} s, {:.1f} of CPU".format(*resumed.ready))
    ratio = (twice.cpu - start.cpu) / (once.cpu - start.cpu)
    print(f"twice the rows take {ratio:.2f} times the CPU time")
    print(f"and {twice.peak / once.peak:.2f} times the memory")


def instant_program() -> None:
    """Run the program, with a copy of one result for each row in place of an engine."""
    started = time.perf_counter()
    from mistral_cli.__main__ import main as program
    from mistral_cli.batch import run

    def answers(self: Any, first: Sequence[Any]) -> Generator[Any, None, None]:
        del first
        for place, item in enumerate(self.stream.items()):
            if not place:
                took = time.perf_counter() - started, time.process_time()
                print("{}{:.2f} {:.2f}".format(_READY, *took), file=sys.stderr)
            yield {"id": item.row.id, "source": item.row.source, **_ANSWER, "key": item.key}
            self._tick()

    run.BatchRun._answers = answers  # type: ignore[method-assign]
    sys.argv[0] = "mistral-cli"
    entry: Callable[[], object] = program
    entry()


_ANSWER: dict[str, Any] = {
    "text": "Hello from the fake engine.",
    "finish_reason": "stop",
    "prompt_tokens": 120,
    "cached_tokens": 0,
    "completion_tokens": 5,
    "reasoning_tokens": 0,
    "checks": [{"name": "empty", "ok": True}, {"name": "repetition", "ok": True}],
    "chunks": 1,
    "left_out": None,
    "timings": {"prompt_seconds": 0.001, "generation_seconds": 0.002, "finished_at": 1.5},
    "memory": 50_000_000,
    "seed": 1,
    "warnings": [],
    "model": "model",
    "adapters": [],
    "engine": "fake",
    "error": None,
}


if __name__ == "__main__":
    main()
