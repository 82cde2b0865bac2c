"""What a person sees of a batch: the status line, the lines in a log, the failures at the end."""

from __future__ import annotations

import io
from typing import Any

import pytest
from support.terminals import TerminalStream, make_terminal

from mistral_cli.batch.failures import failures_table
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


def finish(progress: BatchProgress, tokens: int, *, failed: bool = False) -> None:
    """A row of size 1 ends with its only answer."""
    progress.count_answer(tokens)
    progress.count_row(1, failed=failed)


def last(stream: io.StringIO) -> str:
    return stream.getvalue().rpartition("\x1b[K")[2].strip()


def test_a_terminal_shows_rows_failures_rate_and_time_left(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), [1] * 100, 30, clock)
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


def test_rows_that_were_skipped_at_once_do_not_speed_up_the_rest(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), [0] * 900 + [1] * 100, 0, clock)
    for _ in range(900):
        progress.count_row(0, failed=True)
    for _ in range(2):
        clock.now += 10
        finish(progress, 50)
    progress.show()
    assert last(screen) == "902 of 1,000 rows, 900 failed, 5.0 tokens/s, 16:20 left"


def test_the_time_left_follows_the_last_rows(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), [1] * 160, 0, clock)
    for _ in range(50):
        clock.now += 100
        finish(progress, 10)
    for _ in range(100):
        clock.now += 1
        finish(progress, 10)
    progress.show()
    assert last(screen) == "150 of 160 rows, 10 tokens/s, 0:10 left"


def test_rows_that_end_together_count_from_where_they_began(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), [1] * 16, 0, clock)
    clock.now += 60
    for _ in range(8):  # eight slots
        finish(progress, 100)
    progress.show()
    assert last(screen) == "8 of 16 rows, 13 tokens/s, 1:00 left"


def test_a_late_row_does_not_make_the_others_quicker(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), [1] * 11, 0, clock)
    clock.now += 10
    finish(progress, 100)
    clock.now += 500
    progress.show()
    assert last(screen).endswith("1:30 left")


def test_the_last_row_leaves_no_time_left(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(make_terminal(stderr=screen), [1], 0, clock)
    clock.now += 10
    finish(progress, 100)
    progress.show()
    assert last(screen) == "1 of 1 rows, 10 tokens/s"


def test_a_long_row_takes_longer_and_its_parts_are_seen(clock: Clock) -> None:
    screen = TerminalStream()
    progress = BatchProgress(
        make_terminal(stderr=screen), [100, 100, 800], 0, clock, in_chunks=True
    )
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
    progress = BatchProgress(make_terminal(stderr=screen), [1] * 100, 0, clock)
    for _ in range(50):
        clock.now += 0.01
        progress.show()
    assert 4 <= screen.getvalue().count("rows") <= 6


def test_a_log_gets_a_line_every_so_often(clock: Clock) -> None:
    log = io.StringIO()
    progress = BatchProgress(make_terminal(stderr=log), [1] * 100, 30, clock)
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
def test_a_log_can_do_without(clock: Clock, every: float, quiet: bool) -> None:
    log = io.StringIO()
    progress = BatchProgress(make_terminal(stderr=log, quiet=quiet), [1] * 100, every, clock)
    for _ in range(20):
        clock.now += 50
        finish(progress, 50, failed=True)
        progress.show()
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (200, "3:20"), (3800, "1:03:20")]
)
def test_durations_are_a_clocks(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def failed(name: str, message: str) -> dict[str, Any]:
    return {"id": name, "error": {"code": 5, "message": message, "hint": "Do."}}


def test_no_failures_no_table() -> None:
    assert failures_table([]) == failures_table([{"id": "a", "error": None}, {"id": "b"}]) == []


def test_failures_alike_are_one_line_and_a_count() -> None:
    records = [failed("z.txt", "no text"), {"id": "fine", "error": None}]
    records += [failed(f"{n}.txt", f"{n}.txt: {n}000 tokens") for n in range(1, 39)]
    assert failures_table(records) == [
        "1.txt  1.txt: 1000 tokens",
        "       … and 37 more: the same",
        "z.txt  no text",
    ]


def test_at_most_ten_kinds_are_listed() -> None:
    kinds = [chr(ord("a") + n) * 3 for n in range(14)]
    lines = failures_table([failed("row", kind) for kind in [*kinds, kinds[-1], kinds[-1]]])
    assert lines[:2] == ["row  nnn", "     … and 2 more: the same"]
    assert len(lines) == 12
    assert lines[-1] == "… and 4 more failed rows, for other reasons"


def test_lines_are_short_and_command_no_terminal() -> None:
    lines = failures_table(
        [
            failed("日本語" * 20, "word " * 100),
            failed("\x1b[2Ja\r\nb\u202e", "two\nlines\u2028and\x07 a bell"),
            failed("", ""),
        ]
    )
    assert [len(lines), *map(lines[1].count, "\x1b\x07\r\n\u202e\u2028")] == [3, 0, 0, 0, 0, 0, 0]
    assert lines[0].startswith("…日本語日本語")
    assert lines[0].endswith("…")
    assert len(lines[0]) < 130
    assert lines[1] == "[2Ja b".ljust(32) + "  two lines and a bell"
    assert lines[2].strip() == "no message"


def test_an_error_that_is_a_bare_text_is_told_too() -> None:
    assert failures_table([{"id": "a", "error": "broken"}]) == ["a  broken"]


def test_short_ids_do_not_tell_failures_apart() -> None:
    """They stand in every message, as digits of numbers or letters of words."""
    message = "the prompt has 449 tokens, and 512 fit"
    failed = [{"id": name, "error": {"message": message}} for name in ("1", "5", "44", "a", "")]
    (line, more) = failures_table(failed)
    assert line.endswith(message)
    assert more.strip() == "… and 4 more: the same"
