"""Batches on a Ray cluster whose actors, engines, nodes and drivers are killed at random."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.ray_cluster import RayNodes, kill

DONE = (0, 10)
STOPPED = (130, 143, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM)
DRIVER_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
WEIGHTS = {"actor": 3, "engine": 2, "node": 2, "driver": 3}


@dataclass
class RayKills:
    """Runs the batch `command` again and again, and kills something every moment.

    `expected` has the record of each row by its key, from a run that was not disturbed. `kinds`
    counts what was killed, `failed` the rows that failed at first, because their engine was killed
    twice.
    """

    nodes: RayNodes
    command: list[str]
    out: Path
    expected: dict[str, dict[str, Any]]
    rng: random.Random
    report: Callable[[str], None] = lambda _: None
    kinds: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    failed: int = 0

    def run(self, number: int) -> None:
        """Complete batches until `number` processes or nodes were killed."""
        while self.kinds.total() < number:
            self.out.unlink(missing_ok=True)
            before, started = self.kinds.copy(), time.monotonic()
            self._complete(number)
            self.batches += 1
            self._check()
            kinds = ", ".join(f"{n} {kind}" for kind, n in (self.kinds - before).items())
            self.report(
                f"batch {self.batches}: {len(self.expected)} rows complete, each once, after "
                f"{time.monotonic() - started:.0f} s; killed: {kinds or 'nothing'}"
            )

    def _complete(self, number: int) -> None:
        """Start the driver again until it ends by itself with all rows answered."""
        more: list[str] = []
        while True:
            kept = self._lines()
            running = subprocess.Popen(
                [*self.command, "--ray", self.nodes.address, "-o", str(self.out), *more],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            while running.poll() is None and self.kinds.total() < number:
                self._strike(running)
            stdout, stderr = running.communicate(timeout=240)
            status = running.returncode
            assert status in (*DONE, *STOPPED), f"exit status {status}: {stderr}"
            assert not stdout, stdout
            lines = self._lines()
            if not more:
                assert lines[: len(kept)] == kept, "a complete line was changed"
            if status == 0:
                return
            if status == 10:
                self.failed += sum(json.loads(line)["error"] is not None for line in lines)
                more = ["--retry-failed"]

    def _strike(self, running: subprocess.Popen[str]) -> None:
        """Wait for a random moment, and kill something that is there."""
        if self.rng.random() < 0.3:
            until = time.monotonic() + self.rng.uniform(0, 4)  # any time: while it loads, too
            wait(running, lambda: time.monotonic() > until)
        else:
            wanted = len(self._lines()) + self.rng.choice((1, 3, 6, 10))
            wait(running, lambda: len(self._lines()) >= wanted)
        (kind,) = self.rng.choices([*WEIGHTS], [*WEIGHTS.values()])
        if running.poll() is not None:
            return
        if kind == "driver":
            running.send_signal(self.rng.choice(DRIVER_SIGNALS))
        elif kind == "node":
            self.nodes.replace(self.rng.randrange(len(self.nodes.nodes)))
        elif victims := self.nodes.actors() if kind == "actor" else self.nodes.engines():
            kill(self.rng.choice(victims))
        else:
            return
        self.kinds[kind] += 1
        if kind == "driver":
            running.wait(60)

    def _lines(self) -> list[bytes]:
        return self.out.read_bytes().split(b"\n")[:-1] if self.out.exists() else []

    def _check(self) -> None:
        records = [json.loads(line) for line in self._lines()]
        keys = Counter(record["key"] for record in records)
        assert set(keys) == set(self.expected), "rows are missing"
        assert max(keys.values()) == 1, "rows are double"
        assert {r["key"]: comparable(r) for r in records} == self.expected, "an answer differs"


def wait(running: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    while running.poll() is None and not condition():
        time.sleep(0.005)


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what differs from run to run: times, memory, and retries."""
    return {**record, "timings": None, "memory": None, "warnings": None}


def prepare(folder: Path, rows: int, delay: float, model: Path) -> tuple[list[str], dict[str, Any]]:
    """Write rows and the fake engine's script; return the command, and the records of a local run.

    The script counts for every process that is started from now on.
    """
    script = folder / "fake.json"
    script.write_text(json.dumps({"echo": True, "delay": 0}))
    os.environ["MISTRAL_CLI_FAKE"] = str(script)
    os.environ["MISTRAL_CLI_PROMPT_CACHE"] = "0"
    lines = (json.dumps({"id": str(n), "text": f"this is row {n}"}) for n in range(rows))
    (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines))
    command = [
        *(sys.executable, "-m", "mistral_cli", "batch", "generate", str(folder / "rows.jsonl")),
        *("--engine", "fake", "-m", str(model), "--seed", "7", "--parallel", "2"),
    ]
    local = folder / "local.jsonl"
    subprocess.run([*command, "-q", "-o", str(local)], check=True)
    records = [json.loads(line) for line in local.read_text().splitlines()]
    script.write_text(json.dumps({"echo": True, "delay": delay}))
    return command, {record["key"]: comparable(record) for record in records}
