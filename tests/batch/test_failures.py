"""The table of failed rows that is printed at the end of a batch."""

from __future__ import annotations

from typing import Any

import pytest

from mistral_cli.batch.failures import FailureCounts


def failed(name: str, message: str) -> dict[str, Any]:
    return {"id": name, "error": {"code": 5, "message": message, "hint": "Do."}}


def failures_table(records: list[dict[str, Any]]) -> list[str]:
    failures = FailureCounts()
    for record in records:
        failures.add(record)
    return failures.table()


def test_no_failures_make_no_table() -> None:
    assert failures_table([]) == failures_table([{"id": "a", "error": None}, {"id": "b"}]) == []


def test_similar_failures_share_a_line_with_a_count() -> None:
    records = [failed("z.txt", "no text"), {"id": "fine", "error": None}]
    records += [failed(f"{n}.txt", f"{n}.txt: {n}000 tokens") for n in range(1, 39)]
    assert failures_table(records) == [
        "1.txt  1000 tokens",
        "       … and 37 more: the same",
        "z.txt  no text",
    ]


def test_at_most_ten_kinds_are_listed() -> None:
    kinds = [chr(ord("a") + n) * 3 for n in range(14)]
    lines = failures_table([failed("row", kind) for kind in [*kinds, kinds[-1], kinds[-1]]])
    assert lines[:2] == ["row  nnn", "     … and 2 more: the same"]
    assert len(lines) == 12
    assert lines[-1] == "… and 4 more failed rows, for other reasons"


def test_lines_are_short_and_without_control_characters() -> None:
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
    assert lines[1] == r"\x1b[2Ja b\u202e".ljust(32) + r"  two lines and\x07 a bell"
    assert lines[2].strip() == "no message"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("d/a.txt is empty", "d/a.txt  is empty"),
        ("d/a.txt: 9 tokens", "d/a.txt  9 tokens"),
        ("d/a.txt.bak is empty", "d/a.txt  d/a.txt.bak is empty"),
        ("d/a.txt", "d/a.txt  d/a.txt"),
    ],
)
def test_a_line_names_its_row_once(message: str, shown: str) -> None:
    assert failures_table([failed("d/a.txt", message)]) == [shown]


def test_an_error_that_is_a_plain_string_is_shown() -> None:
    assert failures_table([{"id": "a", "error": "broken"}]) == ["a  broken"]


def test_short_ids_do_not_separate_similar_failures() -> None:
    """A short id occurs in most messages, in a number or a word."""
    message = "the prompt has 449 tokens, and 512 fit"
    failed = [{"id": name, "error": {"message": message}} for name in ("1", "5", "44", "a", "")]
    (line, more) = failures_table(failed)
    assert line.endswith(message)
    assert more.strip() == "… and 4 more: the same"


def test_rows_that_all_fail_in_another_way_are_counted_in_bounded_memory() -> None:
    failures = FailureCounts()
    for number in range(5000):
        name = "".join(chr(97 + int(digit)) for digit in str(number))
        failures.add(failed(name, f"{name}{name}z"))
        failures.add(failed("often", "often"))
    assert len(failures._kinds) <= 1000
    table = failures.table()
    assert table[1].endswith("… and 4,999 more: the same")
    assert table[-1] == "… and 4,991 more failed rows, for other reasons"
