"""A dry run of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.batch_program import Batch, lines_of, write_rows
from support.fake_engine import Script
from support.json_schemas import check_schema
from support.program import Run


@pytest.mark.parametrize(("words", "in_parts"), [(20, False), (900, True)])
def test_a_dry_run_says_that_it_does_not_count_merged_summaries(
    batch: Batch, here: Path, script: Script, words: int, in_parts: bool
) -> None:
    script(delay=0.001)
    write_rows(here / "rows.jsonl", "long " * words)
    result = batch("summarize", "rows.jsonl", "--dry-run", "-c", 512, "-n", 20)
    assert (lines_of(result.stdout)[0]["requests"] > 1) == in_parts
    assert ("merging the summaries takes extra time" in result.stderr) == in_parts


def test_a_dry_run_counts_rows_and_writes_nothing(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.001)
    write_rows(here / "rows.jsonl", "a", "b", "long " * 200)
    args = ("rows.jsonl", "--dry-run", "-n", 20, "-c", 400)
    for more in (("-o", "new/out.jsonl"), ()):
        result = batch("generate", *args, *more)
        assert result.status == 0
        (summary,) = lines_of(result.stdout)
        assert (summary["rows"], summary["to_do"], summary["done"], summary["would_fail"]) == (
            3,
            3,
            0,
            1,
        )
        assert (summary["requests"], summary["context_length"]) == (2, 400)
        assert summary["prompt_tokens"] > 0
        check_schema("batch-dry-run", summary)
        assert "about" in result.stderr
    assert [path.name for path in here.iterdir()] == ["rows.jsonl"]
    assert batch("generate", *args[:1], "-n", 20, "-c", 400, "-o", "out.jsonl").status == 10
    before = (here / "out.jsonl").read_bytes() + b'{"id": "to'
    (here / "out.jsonl").write_bytes(before)
    result = batch("generate", *args, "-o", "out.jsonl", "--limit", 1)
    (summary,) = lines_of(result.stdout)
    assert (summary["done"], summary["failed_before"], summary["to_do"]) == (2, 1, 0)
    assert summary["estimated_seconds"] == 0
    assert (here / "out.jsonl").read_bytes() == before
    (summary,) = lines_of(batch("generate", *args, "-o", "out.jsonl", "--retry-failed").stdout)
    assert (summary["to_do"], summary["would_fail"]) == (1, 1)


def test_a_dry_run_lists_the_checks_as_that_of_one_text_does(
    batch: Batch, run: Run, mistral: Path, here: Path, script: Script
) -> None:
    script(delay=0.001)
    write_rows(here / "rows.jsonl", "a b", "a b c")
    options = ("--sentences", 2, "--facts", "retry", "--dry-run")
    result = batch("summarize", "rows.jsonl", *options)
    (summary,) = lines_of(result.stdout)
    check_schema("batch-dry-run", summary)
    engine = ("--engine", "fake", "-m", mistral)
    one = json.loads(run("summarize", "a b", "--json", *options, *engine).stdout)
    assert summary["checks"] == one["checks"] != []
    assert "checks: " in result.stderr
