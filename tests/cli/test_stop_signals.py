"""Any stop signals, at any time, end any command within seconds, and it leaves nothing behind.

Each run of the suite tries some moments; set STOPS=300 for a long test of each command.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.batch_program import lines_of, write_rows
from support.processes import children_of, gone

STOPS = int(os.environ.get("STOPS", "4"))
SIGNALS = [
    number
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if signal.getsignal(number) is not signal.SIG_IGN  # as nohup sets it
]
HANG_SECONDS = 20  # a process ends within 1.3 s of the first signal where nothing else runs

COMMANDS = {
    "help": "--help",
    "models": "models list",
    "doctor": "doctor",
    "serve": "serve -m {model} --engine llama.cpp",
    "generate": "generate Hi -n 60 --seed 1 -m {model} --engine",
    "batch": "batch generate rows.jsonl -o out.jsonl --report report.html -n 9 -m {model} --engine",
}
CASES = [
    *((name, ()) for name in ("help", "models", "doctor", "serve")),
    *(
        (name, (engine,))
        for name in ("generate", "batch")
        for engine in ("llama.cpp", "ctransformers")
    ),
]
DONE = (0, 1, 10)  # a doctor finds something to report

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300 + 60 * STOPS)]


@dataclass
class Stopped:
    """How a command ended that got stop signals."""

    sent: list[int]
    status: int
    seconds: float
    stderr: str


@pytest.fixture(autouse=True)
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="stops-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.mark.parametrize(("name", "engine"), CASES, ids=lambda value: "".join(value))
def test_stop_signals_at_random_moments(
    name: str,
    engine: tuple[str, ...],
    tmp_path: Path,
    short_folder: Path,
    mistral: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(f"{os.environ.get('STOPS_SEED', '1')} {name} {engine}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(short_folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_rows(tmp_path / "rows.jsonl", *(f"row {number}" for number in range(30)))
    command = [*COMMANDS[name].format(model=mistral).split(), *engine]
    started = time.monotonic()
    if name == "serve":
        longest = 2.5
    else:
        status = subprocess.run(
            [sys.executable, "-m", "mistral_cli", *command], capture_output=True
        ).returncode
        assert status in DONE
        longest = time.monotonic() - started
    slowest = 0.0
    for _ in range(STOPS):
        Path("out.jsonl").unlink(missing_ok=True)
        stopped = stop(command, chance, longest)
        where = f"{command} {stopped}"
        slowest = max(slowest, stopped.seconds)
        allowed = {128 + number for number in stopped.sent} | {-number for number in stopped.sent}
        assert stopped.status in {*DONE, *allowed}, where
        if "mistral_cli" in stopped.stderr:  # else Python was stopped before it ran ours
            assert "Traceback" not in stopped.stderr, where
            assert "Exception ignored" not in stopped.stderr, where
        wait_until_empty(short_folder, where)
        if name == "batch" and Path("out.jsonl").exists():
            lines_of(Path("out.jsonl"))
    print(f"{name} {engine}: the slowest of {STOPS} ended after {slowest:.2f} s")


def stop(command: list[str], chance: random.Random, longest: float) -> Stopped:
    """Start the command and send it some signals, from a random moment on."""
    running = subprocess.Popen(
        [sys.executable, "-m", "mistral_cli", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(chance.uniform(0, longest))
    children, sent, began = children_of(running.pid), list[int](), time.monotonic()
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        number = chance.choice(SIGNALS)
        sent.append(int(number))
        running.send_signal(number)
        time.sleep(chance.choice((0, 0, 0.001, 0.01, 0.05, 0.2)))
    try:
        _, stderr = running.communicate(timeout=HANG_SECONDS)
    except subprocess.TimeoutExpired:
        running.kill()
        pytest.fail(f"{command} does not end after {sent}")
    seconds = time.monotonic() - began
    assert all(map(gone, children))
    return Stopped(sent, running.returncode, seconds, stderr)


def wait_until_empty(folder: Path, where: str) -> None:
    """A folder of a process that a signal ended is removed by a shell, a moment later."""
    deadline = time.monotonic() + HANG_SECONDS
    while left := list(folder.iterdir()):
        assert time.monotonic() < deadline, (left, where)
        time.sleep(0.01)
