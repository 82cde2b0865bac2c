"""The progress of a batch: a status line on a terminal, lines in a log."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from support.batch_program import Batch, write_rows
from support.fake_engine import Script
from support.terminals import TerminalStream, make_terminal

from mistral_cli.batch.progress import BatchProgress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


class Totals:
    """Rows of these sizes, all of which have been read."""

    def __init__(self, sizes: list[int], fraction: float | None = 1.0) -> None:
        self.to_do, self.size, self.fraction = len(sizes), sum(sizes), fraction
        self.ended = fraction == 1


def finish(progress: BatchProgress, tokens: int, *, failed: bool = False) -> None:
    """Finish a row of size 1 that takes one answer."""
    progress.count_answer(tokens)
    progress.count_row(1, failed=failed)


def last(stream: io.StringIO) -> str:
    return stream.getvalue().rpartition("\x1b[K")[2].strip()


def test_a_terminal_shows_rows_failures_rate_and_time_left(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([1] * 100), 30, clock)
    progress.show()
    assert last(screen) == "0 of 100 rows"
    for number in range(12):
        clock.now += 2
        finish(progress, 170, failed=number == 3)
    progress.show()
    assert last(screen) == "12 of 100 rows, 1 failed, 85 tokens/s, 2:56 left"
    clock.now += 1  # the row in progress counts down
    progress.show()
    assert last(screen).endswith("2:55 left")
    progress.end()
    assert last(screen) == ""


def test_rows_that_failed_at_once_do_not_count_as_pace(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([0] * 900 + [1] * 100), 0, clock)
    for _ in range(900):
        progress.count_row(0, failed=True)
    for _ in range(2):
        clock.now += 10
        finish(progress, 50)
    progress.show()
    assert last(screen) == "902 of 1,000 rows, 900 failed, 5.0 tokens/s, 16:20 left"


def test_the_time_left_follows_the_last_rows(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([1] * 160), 0, clock)
    for _ in range(50):
        clock.now += 100
        finish(progress, 10)
    for _ in range(100):
        clock.now += 1
        finish(progress, 10)
    progress.show()
    assert last(screen) == "150 of 160 rows, 10 tokens/s, 0:10 left"


def test_rows_that_end_together_are_timed_from_their_start(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([1] * 16), 0, clock)
    clock.now += 60
    for _ in range(8):  # eight slots
        finish(progress, 100)
    progress.show()
    assert last(screen) == "8 of 16 rows, 13 tokens/s, 1:00 left"


def test_a_late_row_does_not_shorten_the_estimate_for_the_others(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([1] * 11), 0, clock)
    clock.now += 10
    finish(progress, 100)
    clock.now += 500
    progress.show()
    assert last(screen).endswith("1:30 left")


def test_rows_that_were_not_read_are_estimated_by_the_others(clock: Clock) -> None:
    screen = TerminalStream()
    totals = Totals([1] * 40, fraction=0.25)
    progress = BatchProgress(make_terminal(stderr=screen), totals, 0, clock)
    for _ in range(10):
        clock.now += 2
        finish(progress, 10)
    progress.show()
    assert last(screen) == "10 rows, 25% of the inputs read, 5.0 tokens/s, 5:00 left"
    totals.fraction = None
    clock.now += 1
    progress.show()
    assert last(screen) == "10 rows, 4.8 tokens/s"


def test_no_time_left_is_shown_after_the_last_row(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([1]), 0, clock)
    clock.now += 10
    finish(progress, 100)
    progress.show()
    assert last(screen) == "1 of 1 rows, 10 tokens/s"


def test_a_long_row_takes_longer_and_its_chunks_are_counted(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([100, 100, 800]), 0, clock)
    progress.count_chunks()
    for _ in range(3):
        clock.now += 5
        progress.count_answer(200)
    progress.show()
    assert last(screen) == "0 of 3 rows, 3 chunks, 40 tokens/s"
    for _ in range(2):
        progress.count_row(100, failed=False)
    progress.show()
    clock.now += 1
    progress.show()
    assert last(screen) == "2 of 3 rows, 3 chunks, 38 tokens/s, 0:59 left"


def test_the_status_line_is_not_redrawn_for_every_row(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), Totals([1] * 100), 0, clock)
    for _ in range(50):
        clock.now += 0.01
        progress.show()
    assert 4 <= screen.getvalue().count("rows") <= 6


def test_a_log_gets_a_line_at_each_interval(clock: Clock) -> None:
    log = io.StringIO()
    progress = BatchProgress(make_terminal(stderr=log), Totals([1] * 100), 30, clock)
    for _ in range(20):
        clock.now += 5
        finish(progress, 50)
        progress.show()
    progress.end()
    assert log.getvalue().splitlines() == [
        "mistral-cli: 6 of 100 rows, 10 tokens/s, 7:50 left",
        "mistral-cli: 12 of 100 rows, 10 tokens/s, 7:20 left",
        "mistral-cli: 18 of 100 rows, 10 tokens/s, 6:50 left",
    ]


@pytest.mark.parametrize(("every", "quiet"), [(0, False), (30, True)])
def test_no_log_lines_with_interval_0_or_quiet(clock: Clock, every: float, quiet: bool) -> None:
    log = io.StringIO()
    progress = BatchProgress(
        make_terminal(stderr=log, quiet=quiet), Totals([1] * 100), every, clock
    )
    for _ in range(20):
        clock.now += 50
        finish(progress, 50, failed=True)
        progress.show()
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (200, "3:20"), (3800, "1:03:20")]
)
def test_durations_look_like_a_clock(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_progress_lines_in_a_log(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.2)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(4)))
    args = ("generate", "rows.jsonl", "--parallel", 1, "--progress-every")
    assert " of 4 rows, " in batch(*args, 0.5).stderr
    assert " of 4 rows, " not in batch(*args, 0).stderr
