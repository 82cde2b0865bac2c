"""Batches that stop signals end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import IO

import pytest
from support.batch_program import OURS, Start, count, texts_of, write_rows
from support.fake_engine import Script
from support.processes import children_of, wait_for

pytestmark = pytest.mark.alone

OUT = ("-o", "out.jsonl")


STOPS = [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_keeps_the_finished_rows(
    start: Start, here: Path, script: Script, number: int, code: int
) -> None:
    script(delay=0.05)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(60)))
    running = start("generate", "rows.jsonl", *OUT, "--parallel", 3)
    wait_for(lambda: count(here / "out.jsonl") >= 4)
    (child,) = children_of(running.pid)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == code
    done = len(texts_of(here / "out.jsonl"))
    assert 4 <= done < 60
    tally = f"{done} of 60 rows done, 0 failed, {60 - done} left"
    assert f"stopped: {tally}\n  Run the same command again to continue." in stderr
    assert stderr.count(f"{done} of 60 rows done") == 1
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_before_the_first_row(here: Path, number: int, code: int, mistral: Path) -> None:
    """The batch waits for stdin: no engine is open yet, and nothing is written."""
    command = [*OURS, "generate", "-", *OUT, "--engine", "fake", "-m", str(mistral), "-v"]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdin
    running.stdin.write("a row\n")
    running.stdin.flush()
    wait_for(lambda: not unread_bytes(running.stdin))
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == code
    assert "stopped before the first row" in stderr
    assert not (here / "out.jsonl").exists()


def test_a_signal_while_the_model_is_loading(
    start: Start, here: Path, script: Script, tmp_path: Path
) -> None:
    write_rows(here / "rows.jsonl", "a")
    script()
    (tmp_path / "script" / "fake.json").unlink()
    os.mkfifo(tmp_path / "script" / "fake.json")  # opening the engine blocks
    running = start("generate", "rows.jsonl", *OUT)
    wait_for(lambda: children_of(running.pid))
    time.sleep(0.3)
    running.send_signal(signal.SIGTERM)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "error: stopped" in stderr


def test_an_ignored_signal_stays_ignored(here: Path, mistral: Path, script: Script) -> None:
    script(delay=0.1)
    write_rows(here / "rows.jsonl", "a", "b")
    ours = [*OURS, "generate", "rows.jsonl", *OUT, "--engine", "fake", "-m", str(mistral)]
    running = subprocess.Popen(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *ours])
    wait_for(lambda: catches(running.pid, signal.SIGTERM))
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0


def catches(pid: int, number: int) -> bool:
    """Return whether the process handles the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def unread_bytes(pipe: IO[str] | None) -> int:
    """Return how many bytes the reader of a pipe has not read yet."""
    assert pipe
    number = fcntl.ioctl(pipe.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(number, sys.byteorder)
