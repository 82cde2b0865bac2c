"""Damaged lines of a results file: set aside, reported, and their rows processed again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script

OUT, KEPT = "out.jsonl", "out.jsonl.damaged"
FORMATS = pytest.mark.parametrize("more", [(), ("--format", "openai")], ids=["jsonl", "openai"])

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a byte": lambda line: line.replace(b'"error"', b'"err\xffor"'),
    "zeros": lambda line: line[:20] + bytes(20) + line[40:],
    "cut": lambda line: line[: len(line) // 2] + b"\n",
    "brackets": lambda _: b"[" * 100_000 + b"\n",
    "nothing": lambda _: b"\n",
    "another key": lambda line: line.replace(b'"error": null', b'"eroor": null'),
    "joined": lambda line: line[:-1],
}


@FORMATS
def test_a_damaged_line_is_set_aside_and_its_row_processed_again(
    batch: Batch, here: Path, more: tuple[str, ...]
) -> None:
    write_rows(here / "rows.jsonl", *(f"row {n}" for n in range(6)))
    arguments = ("generate", "rows.jsonl", "-o", OUT, "--report", "page.html", *more)
    assert batch(*arguments).status == 0
    lines = (here / OUT).read_bytes().splitlines(keepends=True)
    ids = sorted(json.loads(line).get("custom_id", json.loads(line)["id"]) for line in lines)
    for damage, number in itertools.product(DAMAGE, (0, 3)):
        damaged = [*lines[:number], DAMAGE[damage](lines[number]), *lines[number + 1 :]]
        (here / OUT).write_bytes(b"".join(damaged))
        (here / KEPT).unlink(missing_ok=True)
        result = batch(*arguments)
        assert result.status == 0, (damage, number, result.stderr)
        said = f"line {number + 1} of {here / OUT} is damaged: it is kept in {KEPT}"
        assert said in result.stderr, (damage, number)
        # A line that lost its end is set aside together with the line behind it.
        good = 4 if damage == "joined" else 5
        assert f"6 of 6 rows done, {good} of them in earlier runs" in result.stderr
        kept = (here / KEPT).read_bytes()
        assert kept == b"".join(damaged).splitlines(keepends=True)[number], (damage, number)
        now = lines_of(here / OUT)
        assert sorted(line.get("custom_id", line["id"]) for line in now) == ids


@FORMATS
def test_a_dry_run_leaves_a_damaged_line_and_the_next_run_forgets_it(
    batch: Batch, here: Path, more: tuple[str, ...]
) -> None:
    write_rows(here / "rows.jsonl", "a", "b", "c")
    arguments = ("generate", "rows.jsonl", "-o", OUT, *more)
    assert batch(*arguments).status == 0
    good = (here / OUT).read_bytes().splitlines(keepends=True)
    (here / OUT).write_bytes(good[0] + b"damaged\n" + good[2])
    result = batch(*arguments, "--dry-run")
    assert f"line 2 of {here / OUT} is damaged" in result.stderr
    assert not (here / KEPT).exists()
    assert "damaged: it is kept" in batch(*arguments).stderr
    result = batch(*arguments)
    assert "damaged" not in result.stderr
    assert "3 of 3 rows done, 3 of them in earlier runs" in result.stderr
    assert (here / KEPT).read_bytes() == b"damaged\n"


def test_a_damaged_line_is_kept_once_by_runs_that_are_killed(batch: Batch, here: Path) -> None:
    """Such a run leaves the line in place; the next one must not keep it a second time."""
    write_rows(here / "rows.jsonl", "a", "b", "c")
    arguments = ("generate", "rows.jsonl", "-o", OUT)
    assert batch(*arguments).status == 0
    good = (here / OUT).read_bytes().splitlines(keepends=True)
    (here / OUT).write_bytes(good[0] + b"damaged\n" + good[2])
    (here / OUT).chmod(0o600)
    (here / KEPT).write_bytes(b"of last year\ndamaged\n")
    assert batch(*arguments).status == 0
    assert (here / KEPT).read_bytes() == b"of last year\ndamaged\n"
    assert len(texts_of(here / OUT)) == 3


def test_several_damaged_lines(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", *"abcde")
    arguments = ("generate", "rows.jsonl", "-o", OUT)
    assert batch(*arguments).status == 0
    good = (here / OUT).read_bytes().splitlines(keepends=True)
    (here / OUT).chmod(0o600)
    (here / OUT).write_bytes(good[0] + b"one\n" + b"two\n" + good[3] + good[4][:-5])
    result = batch(*arguments)
    assert "2 lines of" in result.stderr
    assert "the first is line 2" in result.stderr
    assert "was incomplete" in result.stderr
    assert "5 of 5 rows done, 2 of them in earlier runs" in result.stderr
    assert (here / KEPT).read_bytes() == b"one\ntwo\n"
    assert (here / KEPT).stat().st_mode & 0o777 == 0o600


def test_a_damaged_line_of_a_folder_of_results(batch: Batch, here: Path, script: Script) -> None:
    (here / "in").mkdir()
    for name in "abc":
        (here / "in" / f"{name}.txt").write_text(f"text {name}")
    arguments = ("generate", "in", "--output-dir", "out")
    assert batch(*arguments).status == 0
    ledger = here / "out" / ".mistral-cli-batch.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(lines[0] + b"damaged\n" + lines[2])
    result = batch(*arguments, "--limit", "1")
    assert "3 of 3 rows done" in result.stderr, result.stderr
    ledger.write_bytes(lines[0] + b"damaged again\n" + lines[2])
    script(error="no")
    assert batch(*arguments).status == 10  # the row has no result now, but its old file
    script()
    result = batch(*arguments, "--retry-failed")
    assert result.status == 0, result.stderr
    assert len(texts_of(ledger)) == 3
    (here / "out" / "new.txt").write_text("of somebody else")
    (here / "in" / "new.txt").write_text("text new")
    (here / "out" / "newer.txt").write_text("of somebody else")
    (here / "in" / "newer.txt").write_text("text newer")
    (here / "out" / "newest.txt").write_text("of somebody else")
    (here / "in" / "newest.txt").write_text("text newest")
    assert "is not a result of this batch" in batch(*arguments).stderr


CHANGES: tuple[dict[str, object], ...] = (
    {"timings": 5},
    {"timings": {"prompt_seconds": "x", "generation_seconds": [1]}},
    {"prompt_tokens": None, "completion_tokens": {}},
    {"warnings": 7},
    {"warnings": None, "source": [], "text": {"a": 1}, "finish_reason": 3},
    {"error": 5},
    {"error": {"message": None, "code": "x", "hint": []}},
)


def test_results_with_values_of_other_types(batch: Batch, here: Path) -> None:
    """People edit results files."""
    write_rows(here / "rows.jsonl", "a", "b")
    arguments = ("generate", "rows.jsonl", "-o", OUT, "--report", "page.html")
    assert batch(*arguments).status == 0
    first, second = lines_of(here / OUT)
    for change in CHANGES:
        changed = (first | change, second)
        (here / OUT).write_text("".join(json.dumps(line) + "\n" for line in changed))
        for result in (batch(*arguments, "--dry-run"), batch(*arguments)):
            assert "bug" not in result.stderr, (change, result.stderr)
            assert result.status in (0, 10), change


def _with_comma(line: bytes) -> bytes:
    return line[:-1] + b",\n"


@FORMATS
@pytest.mark.parametrize(
    ("damaged", "last"),
    [(1200, b""), (999, None), (1000, None), (1200, b'{"id": "row')],
    ids=["all", "999 and a good line", "1000 and a good line", "and a cut line"],
)
def test_many_damaged_lines_at_the_start(
    batch: Batch, here: Path, more: tuple[str, ...], damaged: int, last: bytes | None
) -> None:
    """An editor or a script can change all lines alike, such as by a comma behind each."""
    write_rows(here / "rows.jsonl", "a", "b")
    arguments = ("generate", "rows.jsonl", "-o", OUT, *more)
    assert batch(*arguments).status == 0
    first, good = (here / OUT).read_bytes().splitlines(keepends=True)
    start = first[: first.index(b'"id": "') + 7]
    lines = [start + b"%d-" % n + _with_comma(first[len(start) :]) for n in range(damaged)]
    (here / OUT).write_bytes(b"".join(lines) + (good if last is None else last))
    result = batch(*arguments)
    assert result.status == 0, result.stderr
    assert "2 of 2 rows done" in result.stderr
    assert ("was incomplete (11 bytes)" in result.stderr) == bool(last)
    assert (here / KEPT).read_bytes() == b"".join(lines)
    assert len(lines_of(here / OUT)) == 2


def test_a_long_file_of_another_program_is_refused(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "a")
    content = b'{"id": "damaged",\n' * 1500 + b"of another program\n" * 1500
    for foreign in (content, content[-20_000:]):
        (here / OUT).write_bytes(foreign)
        result = batch("generate", "rows.jsonl", "-o", OUT)
        assert result.status == 2
        assert "is not a batch result in this format" in result.stderr
        assert (here / OUT).read_bytes() == foreign
        assert not (here / KEPT).exists()
