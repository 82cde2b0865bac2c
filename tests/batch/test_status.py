"""`batch status`: how far a batch is, whatever became of its run."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch, Start, count, write_rows
from support.fake_engine import Script
from support.json_schemas import check_schema

from mistral_cli.batch.run_report import RunReport, RunState, StatusFile, report_path


def status(run: Any, *names: object) -> Any:
    result = run("batch", "status", *names, "--json")
    assert result.status == 0
    value = json.loads(result.stdout)
    check_schema("batch-status", value)
    return value["batches"][0]


def test_a_batch_that_has_ended(batch: Batch, here: Path, script: Script, run: Any) -> None:
    script(echo=True, fail_on="bad")
    write_rows(here / "rows.jsonl", "one", "two", "bad row")
    assert batch("generate", "rows.jsonl", "-o", "out.jsonl").status == 10
    now = status(run, "out.jsonl")
    assert (now["state"], now["rows"], now["done"], now["failed"], now["left"]) == (
        "ended", 3, 2, 1, 0,
    )  # fmt: skip
    assert (now["command"], now["engine"], now["exit_code"]) == ("batch generate", "fake", 10)
    table = run("batch", "status", "out.jsonl").stdout
    assert table.split("\t")[:6] == ["out.jsonl", "ended", "-", "3", "2", "1"]


def test_a_batch_that_runs_and_is_killed(
    start: Start, batch: Batch, here: Path, script: Script, run: Any
) -> None:
    script(echo=True, delay=0.05)
    write_rows(here / "rows.jsonl", *(f"row {n}" for n in range(60)))
    process = start("generate", "rows.jsonl", "-o", "out.jsonl", "--parallel", "1")
    while count(here / "out.jsonl") < 5:
        time.sleep(0.05)
    now = status(run, "out.jsonl")
    assert now["state"] == "running"
    assert 5 <= now["done"] < 60
    process.send_signal(signal.SIGKILL)
    process.communicate()
    now = status(run, "out.jsonl")
    assert now["state"] == "killed"
    process = start("generate", "rows.jsonl", "-o", "out.jsonl", "--parallel", "1")
    while count(here / "out.jsonl") < 15:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    now = status(run, "out.jsonl")
    assert (now["state"], now["exit_code"]) == ("stopped", 143)
    script(echo=True)
    assert batch("generate", "rows.jsonl", "-o", "out.jsonl").status == 0
    now = status(run, "out.jsonl")
    assert (now["state"], now["rows"], now["done"], now["left"]) == ("ended", 60, 60, 0)


def test_tables_and_folders_have_a_status_too(batch: Batch, here: Path, run: Any) -> None:
    write_rows(here / "rows.jsonl", "one", "two")
    batch("generate", "rows.jsonl", "-o", "out.csv")
    assert status(run, "out.csv")["done"] == 2
    (here / "in").mkdir()
    (here / "in" / "a.txt").write_text("a text")
    batch("generate", "in", "--output-dir", "out")
    assert status(run, "out")["done"] == 1


def test_results_of_an_earlier_version_have_no_report(batch: Batch, here: Path, run: Any) -> None:
    write_rows(here / "rows.jsonl", "one", "two")
    batch("generate", "rows.jsonl", "-o", "out.jsonl")
    for content in (b"", b"[1]", b'{"version": 99}', b'{"version": 1, "other": 2}'):
        report_path(here / "out.jsonl").write_bytes(content)
        now = status(run, "out.jsonl")
        assert (now["state"], now["rows"], now["done"]) == ("unknown", None, 2)
    assert run("batch", "status", "none.jsonl").status == 2


def test_a_run_on_another_machine_counts_as_killed_when_it_is_silent(tmp_path: Path) -> None:
    report = RunReport("batch generate", "m", "fake", host="elsewhere", pid=1)
    assert report.state is RunState.RUNNING
    StatusFile(tmp_path / "out.jsonl", report).update(7, None, done_before=0)
    read = RunReport.read(tmp_path / "out.jsonl")
    assert read is not None
    assert read.state is RunState.RUNNING
    old = RunReport("batch generate", "m", "fake", host="elsewhere", pid=1, updated_at=1.0)
    assert old.state is RunState.KILLED


def test_a_report_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "none" / "out.jsonl", RunReport("batch generate", "m", "fake"))
    file.end(0, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"version": 1}',
        '{"version": 1, "command": "a", "model": "b", "engine": "c", "started_at": "d"}',
        '{"version": 1, "command": "a", "model": "b", "engine": "c", "rows": []}',
    ],
)
def test_a_report_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    results = tmp_path / "out.jsonl"
    report_path(results).write_text(content)
    assert RunReport.read(results) is None


def test_folders_without_results(here: Path, run: Any) -> None:
    result = run("batch", "status", here)
    assert result.status == 2
    assert f"{here} has no results of a batch" in result.stderr


@pytest.mark.parametrize("gone", ["results", "report"])
def test_merge_needs_every_shard_to_be_complete(
    batch: Batch, here: Path, run: Any, gone: str
) -> None:
    write_rows(here / "rows.jsonl", *(f"row {n}" for n in range(20)))
    names = ["1.jsonl", "2.jsonl"]
    for number, name in enumerate(names, 1):
        batch("generate", "rows.jsonl", "-o", name, "--shard", f"{number}/2")
    assert run("batch", "merge", *names, "-o", "all.jsonl").stderr.count("\n") == 1
    if gone == "results":
        result = run("batch", "merge", names[0])
        assert (result.status, result.stdout) == (1, "")
        assert "no file has the shard 2/2" in result.stderr
        lines = (here / names[1]).read_text().splitlines(keepends=True)
        (here / names[1]).write_text("".join(lines[1:]))
        result = run("batch", "merge", *names)
        assert result.status == 1
        assert f"2.jsonl lacks 1 of {len(lines)} rows" in result.stderr
    else:
        report_path(here / names[1]).unlink()
        result = run("batch", "merge", *names, "--input", "rows.jsonl")
        assert (result.status, result.stdout.count("\n")) == (0, 20)
