"""A batch that runs again processes only what is missing, and keeps the other results."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.batch_records import (
    finish,
    identities,
    open_results,
    plan_of,
    stored_record,
    work_item,
)
from support.fake_engine import Script

from mistral_cli.batch.prompts import WorkItem
from mistral_cli.batch.resume import RowStatus

OUT = ("-o", "out.jsonl")


def test_a_second_run_processes_nothing(batch: Batch, here: Path, script: Script) -> None:
    write_rows(here / "rows.jsonl", "a", "b")
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    before, stamp = (here / "out.jsonl").read_bytes(), (here / "out.jsonl").stat()
    script(error="an engine was opened")
    result = batch("generate", "rows.jsonl", *OUT, "-v")
    assert result.status == 0
    assert "2 of 2 rows done, 2 of them in earlier runs, 0 failed" in result.stderr
    assert "slot" not in result.stderr
    assert (here / "out.jsonl").read_bytes() == before
    assert (here / "out.jsonl").stat().st_ino == stamp.st_ino
    quiet = batch("generate", "rows.jsonl", *OUT, "-q")
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, "", "")


def test_changed_rows_and_options_are_redone(batch: Batch, here: Path, mistral: Path) -> None:
    """The file has one line for each row; rows that did not change keep theirs."""
    write_rows(here / "rows.jsonl", "a", "b")
    template = here / "t.txt"
    template.write_text("Say this: {{ text }} {{ tail }}\n")
    own = ("--template", template, "-p", "tail=x")
    (here / "copy.gguf").write_bytes(mistral.read_bytes() + b"\0" * 32)
    for more, done in (
        ((), 0),
        ((), 2),
        (("--seed", 5), 0),
        (("--seed", 6), 0),
        (("--temperature", 0.5), 0),
        (("-n", 100), 0),
        (("--stop", "zzz"), 0),
        (("-s", "Be brief."), 0),
        (("--prompt", "Echo: {text}"), 0),
        (("--overflow", "head"), 0),
        (("--raw",), 0),
        (own, 0),
        ((*own[:2], "-p", "tail=y"), 0),
        ((*own[:2], "-p", "tail=y", "--parallel", 1, "-t", 1, "--timeout", 100), 2),
        (("-m", "copy.gguf"), 0),
    ):
        result = batch("generate", "rows.jsonl", *OUT, *more)
        assert result.status == 0
        earlier = f", {done} of them in earlier runs" if done else ""
        assert f"2 of 2 rows done{earlier}, 0 failed" in result.stderr, more
        assert set(texts_of(here / "out.jsonl")) == {"1", "2"}
    template.write_text("Tell this: {{ text }} {{ tail }}\n")
    assert "2 of 2 rows done, 0" in batch("generate", "rows.jsonl", *OUT, *own).stderr
    kept = {line["id"]: line for line in lines_of(here / "out.jsonl")}["1"]
    write_rows(here / "rows.jsonl", "a", "changed", "new")
    result = batch("generate", "rows.jsonl", *OUT, *own)
    assert "3 of 3 rows done, 1 of them in earlier" in result.stderr
    lines = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert lines["1"] == kept
    assert lines["2"]["text"] == "this: changed x"


def test_renamed_files_and_shifted_lines_keep_their_results(batch: Batch, here: Path) -> None:
    for name in "abc":
        (here / f"{name}.txt").write_text(f"the text of {name}")
    (here / "t.csv").write_text("text\nfirst row here\nsecond row here\n")
    assert batch("generate", "*.txt", "t.csv", *OUT).status == 0
    before = texts_of(here / "out.jsonl")
    (here / "a.txt").rename(here / "z.txt")
    (here / "b.txt").rename(here / "a.txt")
    (here / "t.csv").write_text("text\nnew row here\nfirst row here\nsecond row here\n")
    result = batch("generate", "*.txt", "t.csv", *OUT, "--ordered")
    assert "6 of 6 rows done, 5 of them in earlier runs" in result.stderr
    assert [(line["id"], line["text"]) for line in lines_of(here / "out.jsonl")] == [
        ("a.txt", before["b.txt"]),
        ("c.txt", before["c.txt"]),
        ("z.txt", before["a.txt"]),
        ("t.csv:2", "new row here"),
        ("t.csv:3", before["t.csv:2"]),
        ("t.csv:4", before["t.csv:3"]),
    ]
    assert all(line["source"] == line["id"] for line in lines_of(here / "out.jsonl"))


def test_equal_rows_and_removed_rows(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "same", "same", "other")
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    write_rows(here / "rows.jsonl", "same")
    result = batch("generate", "rows.jsonl", *OUT)
    assert "1 of 1 rows done, 1 of them in earlier" in result.stderr
    assert set(texts_of(here / "out.jsonl")) == {"1", "2", "3"}
    write_rows(here / "rows.jsonl", "same", "same", "same", "same")
    result = batch("generate", "rows.jsonl", *OUT)
    assert "4 of 4 rows done, 2 of them in earlier" in result.stderr
    assert set(texts_of(here / "out.jsonl")) == {"1", "2", "3", "4"}


def test_failures_are_retried_only_on_request(batch: Batch, here: Path, script: Script) -> None:
    script(fail_on="bad")
    write_rows(here / "rows.jsonl", "good", "bad")
    args = ("generate", "rows.jsonl", *OUT)
    result = batch(*args, "-q")
    assert result.status == 10
    assert result.stderr == (
        "2  the prompt has bad\n"
        "mistral-cli: error: 1 of 2 rows failed\n  Use --retry-failed to retry them.\n"
    )
    script()
    result = batch(*args)
    assert result.status == 10
    assert "1 of 2 rows done, 1 of them in earlier runs, 1 failed" in result.stderr
    assert "2  the prompt has bad" in result.stderr  # failures of earlier runs are listed too
    result = batch(*args, "--retry-failed")
    assert (result.status, texts_of(here / "out.jsonl")["2"]) == (0, "[INST] bad")
    first = lines_of(here / "out.jsonl")
    assert "2 of 2 rows done, 0 failed" in batch(*args, "--force").stderr
    assert sorted(texts_of(here / "out.jsonl")) == ["1", "2"]
    assert all(line not in first for line in lines_of(here / "out.jsonl"))


def test_a_partial_rerun_keeps_the_other_old_results(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "a", "b", "c")
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    before = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert batch("generate", "rows.jsonl", *OUT, "--seed", 3, "--limit", 1).status == 0
    after = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert after["1"] != before["1"]
    assert (after["2"], after["3"]) == (before["2"], before["3"])
    result = batch("generate", "rows.jsonl", *OUT)
    assert "3 of 3 rows done, 2 of them in earlier" in result.stderr


def resume(tmp_path: Path, lines: list[dict[str, Any]], items: list[WorkItem], **more: Any) -> Any:
    """Open and finish a file with `lines`; return the ids done and failed, and the lines left."""
    path = tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = open_results(path)
    plan = plan_of(results, items)
    finish(results, ordered=more.get("ordered", False))
    results.close()
    done = {each.row.id for each in plan[RowStatus.DONE]}
    return done, {each.row.id for each in plan[RowStatus.FAILED]}, identities(path)


FAILED = {"code": 9, "message": "no", "hint": ""}


def test_each_row_takes_the_result_with_its_id_first(tmp_path: Path) -> None:
    """The first of two equal rows has no result yet: it does not take the other's."""
    assert resume(
        tmp_path, [stored_record("2", "k")], [work_item("1", "k"), work_item("2", "k")]
    ) == (
        {"2"},
        set(),
        [("2", "k")],
    )


def test_the_last_of_several_results_counts(tmp_path: Path) -> None:
    """A run that was killed leaves the older results in the file."""
    lines = [
        stored_record("1", "k", error=FAILED),
        stored_record("1", "k"),
        stored_record("x", "k", error=FAILED),
    ]
    assert resume(tmp_path, lines, [work_item("1", "k")]) == ({"1"}, set(), [("1", "k")])
    lines = [stored_record("1", "k"), stored_record("1", "k", error=FAILED)]
    assert resume(tmp_path, lines, [work_item("1", "k")]) == (set(), {"1"}, [("1", "k")])
    lines = [
        stored_record("1", "old"),
        stored_record("1", "k"),
        stored_record("gone", "a"),
        stored_record("gone", "a"),
    ]
    assert resume(tmp_path, lines, [work_item("1", "k")])[2] == [("1", "k"), ("gone", "a")]


def test_rows_that_exchange_ids_exchange_results(tmp_path: Path) -> None:
    lines = [stored_record("1", "a"), stored_record("2", "b"), stored_record("3", "c")]
    items = [work_item("1", "b"), work_item("2", "a"), work_item("4", "c"), work_item("3", "new")]
    done, _, left = resume(tmp_path, lines, items)
    assert done == {"1", "2", "4"}
    assert left == [("2", "a"), ("1", "b"), ("4", "c")]
    assert resume(tmp_path, lines, items, ordered=True)[2] == [("1", "b"), ("2", "a"), ("4", "c")]


def test_matching_ten_thousand_rows_is_not_quadratic(tmp_path: Path) -> None:
    """Neither if all rows are equal nor if all have moved."""
    count = 10_000
    lines = [stored_record(str(number), "k", text="x") for number in range(count)]
    items = [work_item(str(number), "k") for number in range(1, count + 1)]
    started = time.process_time()
    done, _, left = resume(tmp_path, lines, items, ordered=True)
    assert time.process_time() - started < 20  # quadratic: minutes
    assert len(done) == len(left) == count
