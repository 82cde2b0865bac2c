"""`batch merge`: each row once, none missing, in one file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows

TEXTS = [f"row number {n}" for n in range(24)]


@pytest.fixture
def shards(batch: Batch, here: Path) -> list[str]:
    """The results of three shards of `rows.jsonl`."""
    write_rows(here / "rows.jsonl", *TEXTS)
    names = ["1.jsonl", "2.jsonl", "3.jsonl"]
    for number, name in enumerate(names, 1):
        batch("generate", "rows.jsonl", "-o", name, "--shard", f"{number}/3")
    return names


def test_the_file_has_each_row_once_and_the_batch_recognizes_them(
    batch: Batch, shards: list[str], here: Path, run: Any
) -> None:
    result = run("batch", "merge", *shards, "-o", "all.jsonl")
    assert (result.status, result.stdout) == (0, "")
    assert "merged 3 files: 24 of 24 rows done, 0 failed" in result.stderr
    assert sorted(texts_of(here / "all.jsonl")) == sorted(str(n) for n in range(1, 25))
    again = batch("generate", "rows.jsonl", "-o", "all.jsonl")
    assert "24 of 24 rows done, 24 of them in earlier runs" in again.stderr


def test_with_the_inputs_results_are_in_their_order_and_none_may_miss(
    shards: list[str], here: Path, run: Any
) -> None:
    result = run("batch", "merge", *shards, "--input", "rows.jsonl")
    assert result.status == 0
    assert [line["id"] for line in lines_of(result.stdout)] == [str(n) for n in range(1, 25)]
    result = run("batch", "merge", *shards[:2], "-o", "all.jsonl", "--input", "rows.jsonl")
    assert result.status == 1
    missing = 24 - sum(len(texts_of(here / name)) for name in shards[:2])
    assert f"{missing} rows have no result: " in result.stderr
    assert not (here / "all.jsonl").exists()


def test_two_results_of_one_row_are_refused_and_copies_count_once(
    shards: list[str], here: Path, run: Any
) -> None:
    shutil.copy(here / "1.jsonl", here / "copy.jsonl")
    result = run("batch", "merge", "1.jsonl", "copy.jsonl", "1.jsonl", "--input", "rows.jsonl")
    assert result.status == 1
    assert "rows have no result" in result.stderr
    result = run("batch", "merge", *shards, "copy.jsonl", "--input", "rows.jsonl")
    assert result.status == 0
    lines = lines_of(here / "copy.jsonl")
    lines[0]["text"] = "another answer"
    (here / "copy.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run("batch", "merge", *shards, "copy.jsonl")
    assert result.status == 1
    assert f"1 row has two results: {lines[0]['id']} in 1.jsonl and copy.jsonl" in result.stderr
    assert result.stdout == ""


def test_the_newest_result_of_a_row_counts_and_failed_rows_set_the_exit_code(
    shards: list[str], here: Path, run: Any
) -> None:
    lines = lines_of(here / "2.jsonl")
    newer = {**lines[0], "text": "newer"}
    failed = {**lines[1], "text": None, "error": {"code": 9, "message": "no", "hint": "retry"}}
    with (here / "2.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in (newer, failed))
    result = run("batch", "merge", *shards, "--report", "report.html", "--input", "rows.jsonl")
    assert result.status == 10
    assert "23 of 24 rows done, 1 failed" in result.stderr
    texts = texts_of(result.stdout)
    assert (texts[newer["id"]], texts[failed["id"]]) == ("newer", "no")
    assert "24" in (here / "report.html").read_text()


def test_an_output_is_replaced_only_by_force_and_never_an_input(
    shards: list[str], here: Path, run: Any
) -> None:
    (here / "all.jsonl").write_text("mine\n")
    result = run("batch", "merge", *shards, "-o", "all.jsonl")
    assert (result.status, (here / "all.jsonl").read_text()) == (2, "mine\n")
    before = (here / "1.jsonl").read_text()
    result = run("batch", "merge", *shards, "-o", "1.jsonl", "--force")
    assert (result.status, (here / "1.jsonl").read_text()) == (2, before)
    assert run("batch", "merge", *shards, "-o", "all.jsonl", "--force").status == 0
    assert run("batch", "merge", "none.jsonl").status == 2
    (here / "other.jsonl").write_text('{"a": 1}\n')
    result = run("batch", "merge", "other.jsonl")
    assert result.status == 2
    assert "is not a batch result" in result.stderr
    assert "-o" not in result.stderr


@pytest.mark.parametrize("name", ["all.csv", "all.parquet", "all.jsonl.gz"])
def test_a_file_has_no_other_format_than_its_name_says(
    shards: list[str], here: Path, run: Any, name: str
) -> None:
    result = run("batch", "merge", *shards, "-o", name)
    assert (result.status, (here / name).exists()) == (2, False)
    assert "Name a .jsonl file" in result.stderr


def test_a_dash_is_stdout(shards: list[str], here: Path, run: Any) -> None:
    assert len(lines_of(run("batch", "merge", *shards, "-o", "-").stdout)) == 24
    assert not (here / "-").exists()


def test_a_shard_without_rows_is_complete(batch: Batch, here: Path, run: Any) -> None:
    write_rows(here / "rows.jsonl", "only row")
    names = [f"{number}.jsonl" for number in range(1, 6)]
    for number, name in enumerate(names, 1):
        result = batch("generate", "rows.jsonl", "-o", name, "--shard", f"{number}/5")
        assert result.status == 0, result.stderr
    result = run("batch", "merge", *names)
    assert (result.status, len(lines_of(result.stdout))) == (0, 1)
    assert result.stderr == "mistral-cli: merged 5 files: 1 of 1 rows done, 0 failed\n"
