"""Rows are read as they are needed: in windows, or as they arrive."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.batch_program import OURS, Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script

from mistral_cli.batch.input.rows import Row
from mistral_cli.batch.windows import RowSource, RowWindows
from mistral_cli.errors import UsageError


def rows_of(count: int) -> list[Row]:
    return [Row(str(number), f"rows:{number}", "x") for number in range(count)]


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3])]
)
def test_the_end_is_known_with_the_last_window(count: int, sizes: list[int]) -> None:
    windows = RowWindows(RowSource(rows_of(count)), 3)
    ends = [(len(window), windows.ended) for window in windows]
    assert [size for size, _ in ends] == sizes
    assert [ended for _, ended in ends] == [False] * (len(sizes) - 1) + [True] * bool(sizes)


def test_only_as_many_rows_are_read_as_are_needed() -> None:
    read = list[Row]()

    def reading() -> Iterator[Row]:
        for row in rows_of(100):
            read.append(row)
            yield row

    windows = RowWindows(RowSource(reading()), 10)
    next(windows)
    assert len(read) == 11


def test_rows_before_an_error_come_first() -> None:
    def broken() -> Iterator[Row]:
        yield from rows_of(4)
        raise UsageError("broken", hint="Mend it.")

    windows = RowWindows(RowSource(broken()), 3)
    assert [len(next(windows)), len(next(windows))] == [3, 1]
    with pytest.raises(UsageError, match="broken"):
        next(windows)


def test_a_window_ends_where_the_next_row_is_late() -> None:
    ready = iter([True, True, False] + [False] * 100)
    windows = RowWindows(RowSource(rows_of(5), is_ready=lambda: next(ready, True)), 10)
    assert len(next(windows)) == 3


def test_each_line_of_a_pipe_is_answered_as_it_comes(
    here: Path, mistral: Path, script: Script
) -> None:
    command = [*OURS, "generate", "-", "--engine", "fake", "-m", str(mistral), "-q"]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert running.stdin
    assert running.stdout
    for number in range(1, 4):
        running.stdin.write(f"line number {number}\n")
        answer = json.loads(running.stdout.readline())  # the pipe is still open
        assert (answer["id"], answer["text"]) == (f"stdin:{number}", f"line number {number}")
        time.sleep(0.1)
    running.stdin.close()
    assert running.wait(60) == 0


SMALL = "import mistral_cli.batch.windows as w; w.WINDOW = 3\n"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of three rows in the program that is called."""
    (tmp_path / "sitecustomize.py").write_text(SMALL)
    path = ":".join([str(tmp_path), *filter(None, sys.path)])
    monkeypatch.setenv("PYTHONPATH", path)


@pytest.mark.usefixtures("small")
def test_rows_of_many_windows_are_answered_resumed_and_sorted(batch: Batch, here: Path) -> None:
    texts = [f"row {number} {'long ' * (number % 4)}{number}" for number in range(20)]
    write_rows(here / "rows.jsonl", *texts[:11])
    args = ("generate", "rows.jsonl", "-o", "out.jsonl", "--ordered")
    assert "11 of 11 rows done, 0 failed" in batch(*args).stderr
    lines = [json.loads(line) for line in (here / "rows.jsonl").read_text().splitlines()]
    moved = [{**line, "id": f"new-{line['id']}"} for line in lines[2:]]
    write_rows(here / "more.jsonl", *texts[11:])
    more = [json.loads(line) for line in (here / "more.jsonl").read_text().splitlines()]
    rows = [*({**line, "id": f"more-{line['id']}"} for line in more), *moved]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = batch(*args)
    assert "18 of 18 rows done, 9 of them in earlier runs, 0 failed" in result.stderr
    assert "2 results are of rows that are no longer among the inputs" in result.stderr
    ids = [line["id"] for line in lines_of(here / "out.jsonl")]
    assert ids == [*(row["id"] for row in rows), *ids[18:]]
    assert "18 of 18 rows done, 18 of them in earlier" in batch(*args, "--prune").stderr
    assert [line["id"] for line in lines_of(here / "out.jsonl")] == [row["id"] for row in rows]


@pytest.mark.usefixtures("small")
def test_an_id_that_is_repeated_late_ends_the_run_and_keeps_what_was_answered(
    batch: Batch, here: Path
) -> None:
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(12)))
    with (here / "rows.jsonl").open("a") as file:
        file.write('{"id": "2", "text": "again"}\n')
    args = ("generate", "rows.jsonl", "-o", "out.jsonl", "--id-field", "id")
    assert batch(*args, "--dry-run").status == 2
    result = batch(*args)
    assert result.status == 2
    assert "the id '2' occurs twice: the second time in rows.jsonl:13" in result.stderr
    assert "again" not in (here / "out.jsonl").read_text()
    assert len(texts_of(here / "out.jsonl")) == 12


@pytest.mark.usefixtures("small")
def test_a_later_row_that_is_longer_opens_the_model_again(batch: Batch, here: Path) -> None:
    """And it gets the answer that it gets if it is the first."""
    long = "word " * 60 + "the very end"
    rows = [*(f"row {number}" for number in range(8)), long, "short too", long + " again"]
    write_rows(here / "rows.jsonl", *rows)
    result = batch("generate", "rows.jsonl", "-o", "out.jsonl", "-n", 20, "--ordered")
    assert result.status == 0, result.stderr
    assert result.stderr.count("opening the model again") == 1
    texts = texts_of(here / "out.jsonl")
    assert (texts["9"], texts["11"]) == ("the very end", "very end again")
    (here / "rows.jsonl").write_text((here / "rows.jsonl").read_text().splitlines()[8] + "\n")
    assert batch("generate", "rows.jsonl", "-o", "one.jsonl", "-n", 20).status == 0
    measured = dict.fromkeys(("timings", "memory", "seed", "key", "source"))
    alone, among = lines_of(here / "one.jsonl")[0], lines_of(here / "out.jsonl")[8]
    assert {**alone, **measured} == {**among, **measured}
