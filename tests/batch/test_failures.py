"""What goes wrong in a batch: rows, engines, signals, disks. The rest is done all the same."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.batch_program import OURS, Batch, Start, count, lines_of, texts_of, write_rows
from support.fake_engine import Script
from support.processes import children_of, wait_for

OUT = ("-o", "out.jsonl")


# --- rows and engines --------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_row_that_kills_the_engine(
    batch: Batch, here: Path, script: Script, parallel: int
) -> None:
    script(crash_on="killer", delay=0.01)
    texts = ["killer" if number in (2, 3, 4, 5, 11) else f"row {number}" for number in range(14)]
    write_rows(here / "rows.jsonl", *texts)
    result = batch("generate", "rows.jsonl", *OUT, "--parallel", parallel)
    assert result.status == 10
    lines = lines_of(here / "out.jsonl")
    assert len(texts_of(here / "out.jsonl")) == 14
    failed = {line["id"] for line in lines if line["error"]}
    assert failed == {"3", "4", "5", "6", "12"}
    assert "SIGABRT" in result.stderr
    assert "9 of 14 rows done, 5 failed" in result.stderr
    for line in lines:
        assert (line["error"] or {"code": 9})["code"] == 9


@pytest.mark.parametrize("parallel", [1, 3])
def test_an_engine_that_always_dies(
    batch: Batch, here: Path, script: Script, parallel: int
) -> None:
    script(crash_on="row")
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(40)))
    result = batch("generate", "rows.jsonl", *OUT, "--parallel", parallel)
    assert result.status == 9
    assert "the engine keeps crashing: " in result.stderr
    assert "SIGABRT" in result.stderr
    assert "0 of 40 rows done, 3 failed, 37 left" in result.stderr
    script()
    result = batch("generate", "rows.jsonl", *OUT, "--retry-failed")
    assert (result.status, len(texts_of(here / "out.jsonl"))) == (0, 40)


def test_an_engine_that_cannot_be_opened_again(
    start: Start, here: Path, script: Script, tmp_path: Path
) -> None:
    """No row is to blame for that, and no more are marked than were needed to find it out."""
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(50)))
    script(delay=0.05, crash_on="row 7")
    running = start("generate", "rows.jsonl", *OUT, "--parallel", 1)
    wait_for(lambda: count(here / "out.jsonl") >= 2)
    (tmp_path / "script" / "fake.json").write_text("no script")
    assert "keeps crashing" in running.communicate(timeout=60)[1]
    assert running.returncode == 9
    assert sum(line["error"] is not None for line in lines_of(here / "out.jsonl")) <= 8


def test_an_engine_that_is_killed(start: Start, here: Path, script: Script) -> None:
    """By whoever: no row is lost, and what has happened is told and marked."""
    script(delay=0.05)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(20)))
    running = start("generate", "rows.jsonl", *OUT, "--parallel", 2)
    wait_for(lambda: count(here / "out.jsonl") >= 3)
    (child,) = children_of(running.pid)
    os.kill(child, signal.SIGSEGV)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == 0
    assert "warning: the engine ended by SIGSEGV; it is started again" in told
    lines = lines_of(here / "out.jsonl")
    assert len(texts_of(here / "out.jsonl")) == 20
    assert {warning for line in lines for warning in line["warnings"]} == {
        "the engine ended by SIGSEGV; the row was retried"
    }


def test_a_row_that_takes_too_long(batch: Batch, here: Path, script: Script) -> None:
    """It is the only one that fails, though others have to wait for its slot meanwhile."""
    script(pieces=["x"] * 50, delay=0.02)
    write_rows(here / "rows.jsonl", *"abcdef")
    args = ("generate", "rows.jsonl", *OUT, "--parallel", 2, "-n")
    result = batch(*args, 50, "--timeout", 0.3)
    assert result.status == 10
    assert "no complete answer within 0.3 s" in result.stderr
    assert "0 of 6 rows done, 6 failed" in result.stderr
    assert batch(*args, 2, "--timeout", 5, "--retry-failed").status == 0


def test_a_row_that_hangs(
    batch: Batch, here: Path, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(hang_on="stuck", delay=0.01)
    write_rows(here / "rows.jsonl", "one", "stuck", "two", "three", "four")
    patience = "import mistral_cli.engines.isolated.handle as p; p._STUCK_SECONDS = 3"
    (tmp_path / "sitecustomize.py").write_text(patience)
    path = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    result = batch(
        *("generate", "rows.jsonl", *OUT, "--parallel", 1, "--timeout", 1),
        PYTHONPATH=os.pathsep.join(path),
    )
    assert result.status == 10
    assert "4 of 5 rows done, 1 failed" in result.stderr
    found = texts_of(here / "out.jsonl")
    assert found.pop("2") == "no complete answer within 1 s"
    assert len(found) == 4


def test_too_many_failures(batch: Batch, here: Path, script: Script) -> None:
    script(fail_on="bad")
    write_rows(here / "rows.jsonl", "bad 1", "good", "bad 2", "bad 3", "bad 4", "good too")
    args = ("generate", "rows.jsonl", *OUT, "--parallel", 1, "--max-failures", 2)
    result = batch(*args)
    assert result.status == 10
    assert "stopped after 2 failures" in result.stderr
    assert "Run the same command again to go on." in result.stderr
    assert "1 of 6 rows done, 2 failed, 3 left" in result.stderr
    result = batch(*args)  # those of earlier runs do not count
    assert "1 of 6 rows done, 1 of them in earlier runs, 4 failed, 1 left" in result.stderr
    result = batch(*args)
    assert "2 of 6 rows done, 1 of them in earlier runs, 4 failed\n" in result.stderr
    assert "4 of 6 rows failed" in result.stderr


def test_a_bug_costs_one_row(
    here: Path, mistral: Path, batch: Batch, tmp_path: Path, script: Script
) -> None:
    bug = """
from mistral_cli.batch.prompts import RowPrompts
draft = RowPrompts.draft
def broken(self, row):
    import threading
    if row.id == "2" and threading.current_thread() is not threading.main_thread():
        raise ZeroDivisionError("of course")
    return draft(self, row)
RowPrompts.draft = broken
"""
    (tmp_path / "sitecustomize.py").write_text(bug)
    write_rows(here / "rows.jsonl", "a", "b", "c")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = batch("generate", "rows.jsonl", *OUT, PYTHONPATH=path)
    assert result.status == 10
    assert "2 of 3 rows done, 1 failed" in result.stderr
    assert texts_of(here / "out.jsonl")["2"] == "ZeroDivisionError: of course"


def test_rows_that_do_not_fit(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "short", "long " * 500, "short too")
    result = batch("generate", "rows.jsonl", *OUT, "-c", 300, "-n", 50)
    assert result.status == 10
    lines = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert lines["2"]["error"]["code"] == 5
    assert "--overflow" in lines["2"]["error"]["hint"]
    assert not lines["1"]["error"]


# --- signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_end(start: Start, here: Path, script: Script, number: int, code: int) -> None:
    script(delay=0.05)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(60)))
    running = start("generate", "rows.jsonl", *OUT, "--parallel", 3)
    wait_for(lambda: count(here / "out.jsonl") >= 4)
    (child,) = children_of(running.pid)
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert running.returncode == code
    done = len(texts_of(here / "out.jsonl"))
    assert 4 <= done < 60
    tally = f"{done} of 60 rows done, 0 failed, {60 - done} left"
    assert f"stopped: {tally}\n  Run the same command again to go on." in told
    assert told.count(f"{done} of 60 rows done") == 1
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_end_before_the_first_row(
    here: Path, number: int, code: int, mistral: Path
) -> None:
    """While it waits for stdin: the engine has not been opened, and nothing is written."""
    command = [*OURS, "generate", "-", *OUT, "--engine", "fake", "-m", str(mistral), "-v"]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: b"batch" in Path(f"/proc/{running.pid}/cmdline").read_bytes())
    wait_for(lambda: catches(running.pid, signal.SIGTERM))
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert running.returncode == code
    assert "stopped: before a row was asked" in told
    assert not (here / "out.jsonl").exists()


def test_asked_to_end_while_the_model_is_loaded(
    start: Start, here: Path, script: Script, tmp_path: Path
) -> None:
    write_rows(here / "rows.jsonl", "a")
    script()
    (tmp_path / "script" / "fake.json").unlink()
    os.mkfifo(tmp_path / "script" / "fake.json")  # whoever opens the engine waits
    running = start("generate", "rows.jsonl", *OUT)
    wait_for(lambda: catches(running.pid, signal.SIGTERM))
    time.sleep(0.3)
    running.send_signal(signal.SIGTERM)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "stopped: " in told


def test_nohup_is_respected(here: Path, mistral: Path, script: Script) -> None:
    script(delay=0.1)
    write_rows(here / "rows.jsonl", "a", "b")
    ours = [*OURS, "generate", "rows.jsonl", *OUT, "--engine", "fake", "-m", str(mistral)]
    running = subprocess.Popen(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *ours])
    wait_for(lambda: catches(running.pid, signal.SIGTERM))
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0


def catches(pid: int, number: int) -> bool:
    """Whether a handler of its own waits for the signal (SIGTERM's is there in a batch only)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


# --- disks -------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow(start: Start, batch: Batch, here: Path) -> None:
    """The limit is for every file; what is there already leaves room for a few rows."""
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(30)))
    old = {"id": "gone", "source": "", "text": "x" * (2_000_000 - 5000), "error": None, "key": "k"}
    (here / "out.jsonl").write_text(json.dumps(old) + "\n")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    running = start("generate", "rows.jsonl", *OUT, preexec_fn=limited)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 1, told
    assert "out.jsonl: File too large" in told
    assert "continues where it stopped" in told
    there = lines_of(here / "out.jsonl")
    assert 5 < len(there) < 31
    assert f"{len(there) - 1} of 30 rows done, 0 failed" in told
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    assert len(texts_of(here / "out.jsonl")) == 31
    assert lines_of(here / "out.jsonl")[: len(there)] == there


FULL = """
    mkdir disk kept kept2 && mount -t tmpfs -o size=400k none disk || exit 77
    head -c $ROOM /dev/zero >disk/filler
    "$@" ; echo "status $?" ; ls -A disk
    cp -r disk/. kept/ ; rm disk/filler
    "$@" ; echo "status $?"
    cp -r disk/. kept2/
"""


@pytest.mark.parametrize(
    ("to", "name", "room"),
    [("-o disk/o.jsonl", "o.jsonl", 388), ("--output-dir disk", ".mistral-cli-batch.jsonl", 340)],
)
def test_a_full_disk(here: Path, mistral: Path, to: str, name: str, room: int) -> None:
    (here / "texts").mkdir()
    for number in range(40):
        (here / "texts" / f"{number}.txt").write_text(f"the row {number}")
    ours = [*OURS, "generate", "texts", *to.split(), "--engine", "fake", "-m", str(mistral)]
    command = [shutil.which("unshare") or "false", "-rm", "sh", "-c", FULL, "sh", *ours]
    environment = {**os.environ, "ROOM": f"{room}k"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    if result.returncode == 77 or "status" not in result.stdout:
        pytest.skip("no file system can be mounted here")
    assert result.stdout.count("status 1") == result.stdout.count("status 0") == 1, result
    assert "No space left on device" in result.stderr
    assert ".tmp" not in result.stdout
    before, after = lines_of(here / "kept" / name), lines_of(here / "kept2" / name)
    assert 0 < len(before) < 40 == len(after)
    assert [line for line in before if line not in after] == []
    if name != "o.jsonl":
        for number in range(40):
            assert (here / "kept2" / f"{number}.txt").read_text() == f"the row {number}\n"
