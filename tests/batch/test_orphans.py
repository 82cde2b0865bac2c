"""Orphaned results, whose rows are no longer among the inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script

OUT = ("-o", "out.jsonl")
ARE_ORPHANED = "2 results are of rows that are no longer among the inputs; --prune removes them"


def of_files(here: Path) -> None:
    for name in "abcd":
        (here / f"{name}.txt").write_text(f"text {name}")


def without_two(here: Path) -> None:
    for name in "bc":
        (here / f"{name}.txt").unlink()


@pytest.mark.parametrize("more", [(), ("--format", "openai"), ("--ordered",)], ids=str)
def test_results_of_removed_files_are_counted_and_pruned(
    batch: Batch, here: Path, more: tuple[str, ...]
) -> None:
    of_files(here)
    arguments = ("generate", "*.txt", *OUT, *more)
    result = batch(*arguments)
    assert result.status == 0
    assert "no longer" not in result.stderr
    without_two(here)
    result = batch(*arguments)
    assert "2 of 2 rows done, 2 of them in earlier runs" in result.stderr
    assert ARE_ORPHANED in result.stderr
    before = (here / "out.jsonl").read_bytes()
    assert before.count(b"\n") == 4
    result = batch(*arguments, "--prune", "--dry-run")
    assert json.loads(result.stdout)["orphaned"] == 2
    assert (here / "out.jsonl").read_bytes() == before
    result = batch(*arguments, "--prune", "--report", "page.html")
    assert result.status == 0
    assert "2 results of rows that are no longer among the inputs removed" in result.stderr
    kept = [line for line in before.splitlines(keepends=True) if b"b.txt" not in line]
    kept = [line for line in kept if b"c.txt" not in line]
    assert (here / "out.jsonl").read_bytes() == b"".join(kept)
    assert "c.txt" not in (here / "page.html").read_text()
    assert "no longer" not in batch(*arguments, "--prune").stderr


def test_rows_of_a_table(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", *"abcd")
    arguments = ("generate", "rows.jsonl", *OUT)
    assert batch(*arguments).status == 0
    lines = (here / "rows.jsonl").read_text().splitlines(keepends=True)
    (here / "rows.jsonl").write_text(lines[0] + lines[3])
    assert ARE_ORPHANED in batch(*arguments).stderr
    assert batch(*arguments, "--prune").status == 0
    assert set(texts_of(here / "out.jsonl")) == {"1", "4"}


def test_renamed_and_changed_rows_are_not_orphans(batch: Batch, here: Path) -> None:
    of_files(here)
    arguments = ("generate", "*.txt", *OUT)
    assert batch(*arguments).status == 0
    (here / "a.txt").rename(here / "z.txt")
    (here / "b.txt").write_text("another text")
    result = batch(*arguments, "--limit", "1", "--prune")
    assert "no longer" not in result.stderr
    assert "4 of 4 rows done, 3 of them in earlier runs" in result.stderr


def test_files_of_pruned_results(batch: Batch, here: Path) -> None:
    (here / "in" / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c", "deep/d"):
        (here / "in" / f"{name}.txt").write_text(f"text {name}")
    arguments = ("generate", str(here / "in"), "--output-dir", "out")
    assert batch(*arguments).status == 0
    (here / "out" / "deep" / "d.txt").write_text("changed by hand")
    for name in ("b", "deep/c", "deep/d"):
        (here / "in" / f"{name}.txt").unlink()
    assert "3 results are of rows" in batch(*arguments).stderr
    assert (here / "out" / "b.txt").exists()
    assert batch(*arguments, "--prune").status == 0
    left = {str(path.relative_to(here / "out")) for path in (here / "out").rglob("*.txt")}
    assert left == {"a.txt", "deep/d.txt"}
    assert len(lines_of(here / "out" / ".mistral-cli-batch.jsonl")) == 1


def test_a_pruned_failure_has_no_file_to_remove(batch: Batch, here: Path, script: Script) -> None:
    (here / "in").mkdir()
    for name in "ab":
        (here / "in" / f"{name}.txt").write_text(f"text {name}")
    script(fail_on="text b")
    arguments = ("generate", str(here / "in"), "--output-dir", "out")
    assert batch(*arguments).status == 10
    (here / "in" / "b.txt").unlink()
    (here / "out" / "b.txt").write_text("None\n")  # by the user
    assert batch(*arguments, "--prune").status == 0
    assert (here / "out" / "b.txt").exists()
    assert len(lines_of(here / "out" / ".mistral-cli-batch.jsonl")) == 1


def broken_line(here: Path) -> None:
    lines = (here / "rows.jsonl").read_text().splitlines(keepends=True)
    (here / "rows.jsonl").write_text(lines[0] + "{broken\n" + lines[2])


def no_permission(here: Path) -> None:
    (here / "texts").chmod(0)


@pytest.mark.parametrize("damage", [broken_line, no_permission])
def test_nothing_is_pruned_if_an_input_cannot_be_read(
    batch: Batch, here: Path, damage: Callable[[Path], Any]
) -> None:
    if damage is no_permission and os.geteuid() == 0:
        pytest.skip("root reads every folder")
    write_rows(here / "rows.jsonl", *"abc")
    (here / "texts").mkdir()
    (here / "texts" / "d.txt").write_text("text d")
    arguments = ("generate", "**/*.txt", "rows.jsonl", *OUT)
    assert batch(*arguments).status == 0
    before = (here / "out.jsonl").read_bytes()
    damage(here)
    result = batch(*arguments, "--prune")
    (here / "texts").chmod(0o700)
    assert result.status == 2
    assert "--prune needs all inputs" in result.stderr
    assert (here / "out.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-", *OUT), "--prune does not apply to rows from stdin"),
        (OUT, "--prune does not apply to rows from stdin"),
        (("a.txt",), "--prune needs results of an earlier run"),
        (("a.txt", "-o", "-"), "--prune needs results of an earlier run"),
    ],
)
def test_calls_that_cannot_prune(
    batch: Batch, here: Path, arguments: tuple[str, ...], message: str
) -> None:
    (here / "a.txt").write_text("a")
    result = batch("generate", *arguments, "--prune", stdin="a\n")
    assert result.status == 2
    assert message in result.stderr


def test_results_of_other_rows_from_stdin_are_not_mentioned(batch: Batch, here: Path) -> None:
    assert batch("generate", "-", *OUT, stdin="a\nb\n").status == 0
    assert "no longer" not in batch("generate", "-", *OUT, stdin="c\n").stderr
    assert (here / "out.jsonl").exists()
