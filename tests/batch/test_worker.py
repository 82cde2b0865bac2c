"""Rows that fail: too slow, too long, or because of a bug."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script

OUT = ("-o", "out.jsonl")


def test_only_slow_rows_time_out(batch: Batch, here: Path, script: Script) -> None:
    """Waiting for a slot does not count: the time limit starts when a row does."""
    script(pieces=["x"] * 50, delay=0.02)
    write_rows(here / "rows.jsonl", *"abcdef")
    args = ("generate", "rows.jsonl", *OUT, "--parallel", 2, "-n")
    result = batch(*args, 50, "--timeout", 0.3)
    assert result.status == 10
    assert "no complete answer within 0.3 s" in result.stderr
    assert "0 of 6 rows done, 6 failed" in result.stderr
    assert batch(*args, 2, "--timeout", 5, "--retry-failed").status == 0


def test_a_row_that_hangs_times_out(
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
    texts = texts_of(here / "out.jsonl")
    assert texts.pop("2") == "no complete answer within 1 s"
    assert len(texts) == 4


def test_a_bug_fails_one_row(
    here: Path, mistral: Path, batch: Batch, tmp_path: Path, script: Script
) -> None:
    bug = """
import threading
from mistral_cli.batch.prompts import RowPrompts
of = RowPrompts.of
def broken(self, item):
    if item.row.id == "2" and threading.current_thread() is not threading.main_thread():
        raise ZeroDivisionError("of course")
    return of(self, item)
RowPrompts.of = broken
"""
    (tmp_path / "sitecustomize.py").write_text(bug)
    write_rows(here / "rows.jsonl", "a", "b", "c")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = batch("generate", "rows.jsonl", *OUT, PYTHONPATH=path)
    assert result.status == 10
    assert "2 of 3 rows done, 1 failed" in result.stderr
    assert texts_of(here / "out.jsonl")["2"] == "ZeroDivisionError: of course"


def test_rows_that_do_not_fit_the_context_fail(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "short", "long " * 500, "short too")
    result = batch("generate", "rows.jsonl", *OUT, "-c", 300, "-n", 50)
    assert result.status == 10
    lines = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert lines["2"]["error"]["code"] == 5
    assert "--overflow" in lines["2"]["error"]["hint"]
    assert not lines["1"]["error"]
