"""A batch that is killed many times ends with the same results as one that is not.

CI kills it a few times; set KILLS=300 for a long test.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch, Start, lines_of, write_rows
from support.fake_engine import Script
from support.processes import children_of, gone

KILLS = int(os.environ.get("KILLS", "0"))
RNG = random.Random(int(os.environ.get("KILLS_SEED", "1")))
GENTLE = (signal.SIGINT, signal.SIGTERM)
DONE = (0, 10)
STOPPED = (130, 143, -signal.SIGKILL, *(-number for number in GENTLE))

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300 + 10 * KILLS)]


@dataclass
class Killer:
    """Starts a batch again and again, and kills it at random times.

    After each end, `check` gets the complete lines of the file `path`. With `rewriting` the runs
    add no lines but rewrite the file as a whole.
    """

    start: Callable[[], subprocess.Popen[str]]
    path: Path
    signals: tuple[int, ...] = (signal.SIGKILL,)
    check: Callable[[list[bytes]], None] = lambda _: None
    rewriting: bool = False
    children: set[int] = field(default_factory=set)
    strikes: int = 0

    def until_done(self, most: int) -> None:
        """Run until a run ends by itself; after `most` strikes none is killed."""
        status = None
        while status not in DONE:
            running = self.start()
            if self.strikes < most:
                self._strike(running)
            _, stderr = running.communicate(timeout=120)
            status = running.returncode
            self.check(self.lines())
            assert status in (*DONE, *STOPPED), stderr
        assert all(map(gone, self.children))

    def lines(self) -> list[bytes]:
        """Return the complete lines."""
        return self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []

    def _strike(self, running: subprocess.Popen[str]) -> None:
        before, size = len(self.lines()), self._size()
        if RNG.random() < 0.25:
            pause(
                running, RNG.uniform(0, 1.5)
            )  # any time: during imports, reading rows, locking, loading
        elif self.rewriting:
            wait(running, lambda: any(self.path.parent.glob(".mistral-cli-*.tmp")))
            pause(running, RNG.uniform(0, 0.02))
        elif RNG.random() < 0.2:
            wait(running, lambda: self._size() != size)  # during or near a write
        else:
            wanted = before + RNG.choice((1, 2, 3, 5))
            wait(running, lambda: len(self.lines()) >= wanted)
            pause(running, RNG.uniform(0, 0.03))
        self.children.update(children_of(running.pid))
        if running.poll() is None:
            running.send_signal(RNG.choice(self.signals))
            self.strikes += 1

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def wait(running: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    while running.poll() is None and not condition():
        time.sleep(0.0005)


def pause(running: subprocess.Popen[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    wait(running, lambda: time.monotonic() >= until)


def lines_are_kept() -> Callable[[list[bytes]], None]:
    """Return a check that no complete line is ever changed, lost or repeated."""
    seen: set[bytes] = set()

    def check(lines: list[bytes]) -> None:
        assert seen <= set(lines)
        ids = [json.loads(line)["id"] for line in lines]
        assert len(set(ids)) == len(ids)
        seen.update(lines)

    return check


def without_measures(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines sorted by id, without timings and memory, which differ each time."""
    measured = {"timings": None, "memory": None}
    return sorted(({**line, **measured} for line in lines), key=lambda line: str(line["id"]))


def strike(killer: Killer, number: int, begin: Callable[[], None]) -> None:
    """Run whole batches, each after calling `begin`, until `number` processes were killed."""
    while killer.strikes < number:
        begin()
        killer.check = lines_are_kept()
        killer.until_done(number)


@pytest.mark.parametrize(
    ("signals", "number", "more"),
    [
        ((signal.SIGKILL,), KILLS or 12, {}),
        ((signal.SIGKILL, *GENTLE), KILLS // 3 or 5, {}),
        ((signal.SIGKILL,), KILLS // 6 or 3, {"pieces": ["long " * 100_000], "delay": 0.001}),
    ],
    ids=["kill -9", "with gentler ones", "lines of half a megabyte"],
)
def test_a_batch_killed_at_random_times_ends_complete(
    batch: Batch,
    start: Start,
    here: Path,
    script: Script,
    signals: tuple[int, ...],
    number: int,
    more: dict[str, Any],
) -> None:
    script(**{"delay": 0.005, "fail_on": "bad", **more})
    texts = [f"{'bad' if n % 20 == 7 else 'row'} {n} {'words ' * (n % 5)}" for n in range(40)]
    write_rows(here / "rows.jsonl", *texts)
    args = ("generate", "rows.jsonl", "--seed", 7, "--parallel", 4, "--ordered")
    assert batch(*args, "-o", "whole.jsonl").status == 10
    out = here / "out.jsonl"
    killer = Killer(lambda: start(*args, "-o", "out.jsonl"), out, signals)
    strike(killer, number, lambda: out.unlink(missing_ok=True))
    assert without_measures(lines_of(out)) == without_measures(lines_of(here / "whole.jsonl"))
    assert [line["id"] for line in lines_of(out)] == [str(n) for n in range(1, 41)]
    assert names(here) == {"rows.jsonl", "whole.jsonl", "out.jsonl"}


def test_a_batch_killed_while_rewriting_its_file_loses_no_line(
    batch: Batch, start: Start, here: Path, script: Script
) -> None:
    """The ids of all rows change each time, so that only the file has to be rewritten."""
    script(pieces=["long " * 50_000])
    texts = [f"row {n}" for n in range(20)]
    args = ("generate", "rows.jsonl", "-o", "out.jsonl")
    write_rows(here / "rows.jsonl", *texts)
    assert batch(*args).status == 0
    out, number = here / "out.jsonl", KILLS // 6 or 4
    keys = sorted(line["key"] for line in lines_of(out))

    def all_there(lines: list[bytes]) -> None:
        assert sorted(json.loads(line)["key"] for line in lines) == keys

    killer = Killer(lambda: start(*args), out, check=all_there, rewriting=True)
    script(error="a row was processed again")
    while killer.strikes < number:
        RNG.shuffle(texts)
        write_rows(here / "rows.jsonl", *texts)
        killer.until_done(number)
    assert names(here) == {"rows.jsonl", "out.jsonl"}


def test_a_folder_batch_killed_at_random_times_ends_complete(
    batch: Batch, start: Start, here: Path, script: Script
) -> None:
    script(delay=0.005)
    (here / "texts" / "deep").mkdir(parents=True)
    for n in range(40):
        (here / "texts" / ("deep" * (n % 2)) / f"{n}.txt").write_text(f"the row {n}")
    args = ("generate", "texts", "--seed", 7, "--parallel", 4, "--output-dir")
    assert batch(*args, "whole").status == 0
    ledger = ".mistral-cli-batch.jsonl"
    signals = (signal.SIGKILL, signal.SIGKILL, *GENTLE)
    killer = Killer(lambda: start(*args, "out"), here / "out" / ledger, signals)
    strike(killer, KILLS // 3 or 6, lambda: shutil.rmtree(here / "out", ignore_errors=True))
    whole, out = contents(here / "whole"), contents(here / "out")
    assert without_measures(lines_of(whole.pop(ledger))) == without_measures(
        lines_of(out.pop(ledger))
    )
    assert out == whole
    assert len(out) == 40


def names(folder: Path) -> set[str]:
    """Return the names of the files, without the reports of runs."""
    return {path.name for path in folder.iterdir() if ".status" not in path.name}


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".status" not in path.name)
    return {str(path.relative_to(folder)): path.read_text() for path in files}
