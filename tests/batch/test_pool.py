"""Engines that crash while a batch runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.batch_program import Batch, Start, count, lines_of, texts_of, write_rows
from support.fake_engine import Script
from support.processes import children_of, wait_for

OUT = ("-o", "out.jsonl")


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_row_that_crashes_the_engine_fails_alone(
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
def test_an_engine_that_keeps_crashing_ends_the_batch(
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


def test_an_engine_that_cannot_be_restarted_fails_few_rows(
    start: Start, here: Path, script: Script, tmp_path: Path
) -> None:
    """The rows are not the cause: only those that it takes to notice are marked as failed."""
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(50)))
    script(delay=0.05, crash_on="row 7")
    running = start("generate", "rows.jsonl", *OUT, "--parallel", 1)
    wait_for(lambda: count(here / "out.jsonl") >= 2)
    (tmp_path / "script" / "fake.json").write_text("no script")
    assert "keeps crashing" in running.communicate(timeout=60)[1]
    assert running.returncode == 9
    assert sum(line["error"] is not None for line in lines_of(here / "out.jsonl")) <= 8


def test_rows_of_a_killed_engine_are_retried(start: Start, here: Path, script: Script) -> None:
    """No row is lost; a warning reports the crash, and the retried rows are marked."""
    script(delay=0.05)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(20)))
    running = start("generate", "rows.jsonl", *OUT, "--parallel", 2)
    wait_for(lambda: count(here / "out.jsonl") >= 3)
    (child,) = children_of(running.pid)
    os.kill(child, signal.SIGSEGV)
    stderr = running.communicate(timeout=60)[1]
    assert running.returncode == 0
    assert "warning: the engine ended by SIGSEGV; starting it again" in stderr
    lines = lines_of(here / "out.jsonl")
    assert len(texts_of(here / "out.jsonl")) == 20
    warnings = {warning for line in lines for warning in line["warnings"]}
    assert warnings - {'control tokens: "[INST]" (a control token)'} == {  # the fake's echo
        "the engine ended by SIGSEGV; the row was retried"
    }
