"""Failed checks in a batch: in the results, at the end, in the report, and processed again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script
from support.json_schemas import check_schema

from mistral_cli.batch.checks import FailedChecks, failed_checks

OUT = ("-o", "out.jsonl")
SHORT, LONG = "a b c", "elephants giraffes crocodiles"


@pytest.fixture
def rows(here: Path) -> tuple[Any, ...]:
    """Write two rows, whose summaries are their last words, and return the arguments."""
    write_rows(here / "rows.jsonl", SHORT, LONG)
    (here / "plain.txt").write_text("{{ text }}")
    return "summarize", "rows.jsonl", "--template", "plain.txt"


def test_rows_with_a_failed_check_are_counted_and_only_they_are_processed_again(
    batch: Batch, here: Path, rows: tuple[Any, ...]
) -> None:
    first = batch(*rows, *OUT, "--max-chars", 6, "--report", "page.html")
    assert first.status == 0
    assert "1 row has more characters than asked for: 2\n" in first.stderr
    assert "--only-failed-checks processes these rows again" in first.stderr
    good, bad = lines_of(here / "out.jsonl")
    for line in (good, bad):
        check_schema("batch-record", line)
    (check,) = [each for each in bad["checks"] if each["name"] == "characters"]
    assert (check["ok"], check["expected"], check["found"]) == (False, 6, len(LONG))
    assert check["attempts"] == 2
    assert bad["warnings"] == [
        f"the summary has {len(LONG)} characters, more than 6 (after one retry)"
    ]
    assert all(each["ok"] and each["attempts"] == 1 for each in good["checks"])
    page = (here / "page.html").read_text()
    assert 'class="checks warning">characters</td>' in page
    assert 'class="checks">passed</td>' in page
    assert "<dt>With a failed check</dt><dd>1</dd>" in page

    again = batch(*rows, *OUT, "--max-chars", 6)  # nothing to do: the line counts all the same
    assert "2 of 2 rows done, 2 of them in earlier runs" in again.stderr
    assert "1 row has more characters than asked for: 2\n" in again.stderr

    retried = batch(*rows, *OUT, "--max-chars", 60, "--only-failed-checks")
    assert retried.status == 0
    assert "2 of 2 rows done, 1 of them in earlier runs" in retried.stderr
    assert "more characters" not in retried.stderr
    kept, new = lines_of(here / "out.jsonl")
    assert kept == good
    assert (new["id"], new["text"]) == ("2", LONG)
    assert failed_checks(new) == ()

    write_rows(here / "rows.jsonl", SHORT, LONG, "a new row")
    last = batch(*rows, *OUT, "--max-chars", 60, "--only-failed-checks")
    assert "2 of 3 rows done, 2 of them in earlier runs, 0 failed, 1 left" in last.stderr


def test_an_earlier_answer_stays_if_the_new_one_fails_or_is_worse(
    batch: Batch, here: Path, rows: tuple[Any, ...], script: Script
) -> None:
    batch(*rows, *OUT, "--max-chars", 6)
    before = lines_of(here / "out.jsonl")
    again = (*rows, *OUT, "--only-failed-checks")

    script(fail_on="giraffes")
    failed = batch(*again, "--max-chars", 6, "-n", 50)
    assert failed.status == 0
    assert "1 row keeps its earlier answer: the new one failed" in failed.stderr
    assert "giraffes" in failed.stderr  # the error of the new attempt
    assert "1 row has more characters than asked for: 2\n" in failed.stderr
    assert lines_of(here / "out.jsonl") == before

    script()
    worse = batch(*again, "--max-chars", 6, "--sentences", 3, "-n", 51)
    assert "1 row keeps its earlier answer: the new one fails more checks" in worse.stderr
    assert lines_of(here / "out.jsonl") == before

    equal = batch(*again, "--max-chars", 7, "-n", 52)
    assert "earlier answer:" not in equal.stderr
    good, new = lines_of(here / "out.jsonl")
    assert (good, new["text"]) == (before[0], before[1]["text"])
    assert failed_checks(new) == ("characters",)
    assert new["key"] != before[1]["key"]


def test_a_file_of_results_stays_with_its_earlier_answer(
    batch: Batch, here: Path, script: Script
) -> None:
    (here / "plain.txt").write_text("{{ text }}")
    (here / "in").mkdir()
    (here / "in" / "long.md").write_text(LONG)
    call = ("summarize", "in", "--template", "plain.txt", "--output-dir", "out", "--max-chars", 6)
    batch(*call)
    script(fail_on="giraffes")
    result = batch(*call, "--only-failed-checks", "--report", "page.html")
    assert "1 of 1 rows done, 0 failed" in result.stderr
    assert (here / "out" / "long.md").read_text() == f"{LONG}\n"
    assert "<dt>With a failed check</dt><dd>1</dd>" in (here / "page.html").read_text()


def test_a_folder_of_results_is_redone_where_a_check_failed(batch: Batch, here: Path) -> None:
    (here / "plain.txt").write_text("{{ text }}")
    (here / "in").mkdir()
    for name, text in (("short", SHORT), ("long", LONG)):
        (here / "in" / f"{name}.md").write_text(text)
    call = ("summarize", "in", "--template", "plain.txt", "--output-dir", "out")
    assert "1 row has more characters" in batch(*call, "--max-chars", 6).stderr
    result = batch(*call, "--max-chars", 60, "--only-failed-checks")
    assert "2 of 2 rows done, 1 of them in earlier runs" in result.stderr
    assert (here / "out" / "long.md").read_text() == f"{LONG}\n"


def test_strict_makes_the_row_fail_with_its_checks(
    batch: Batch, here: Path, rows: tuple[Any, ...]
) -> None:
    result = batch(*rows, *OUT, "--max-chars", 6, "--strict")
    assert result.status == 10
    texts = texts_of(here / "out.jsonl")
    assert texts["1"] == SHORT
    message = f"the summary has {len(LONG)} characters, more than 6 (after 2 attempts)"
    assert texts["2"] == message
    assert "--retry-failed" in result.stderr
    assert "--only-failed-checks" not in result.stderr
    bad = lines_of(here / "out.jsonl")[1]
    check_schema("batch-record", bad)
    assert bad["error"]["code"] == 7
    assert bad["error"]["details"] == f"The model had written: {LONG}"
    assert failed_checks(bad) == ("characters",)


def test_the_option_needs_results_with_checks(batch: Batch, rows: tuple[Any, ...]) -> None:
    for more, message in (
        ((), "needs results of an earlier run"),
        (("-o", "mistyped.jsonl"), "needs results of an earlier run"),
        ((*OUT, "--format", "openai"), "whose lines have no checks"),
        ((*OUT, "--force"), "cannot be combined"),
    ):
        result = batch(*rows, "--only-failed-checks", *more)
        assert result.status == 2
        assert message in result.stderr


def test_lines_that_people_edited_are_read() -> None:
    for checks in (None, 3, "x", [], [None, 1, {"name": 3, "ok": False}, {"ok": False}, {}]):
        assert failed_checks({"checks": checks}) == ()
    failed = [{"name": "numbers", "ok": False}] * 2
    lines = table({"id": f"r{n}\n", "checks": failed} for n in range(1200))
    assert lines == [
        r"1,200 rows have a number that is not in the text: r0\n, r1\n, r2\n and 1,197 more"
    ]
    assert table([{"id": 1, "checks": [{"name": "new", "ok": False}]}]) == [
        "1 row has a failed check of new: 1"
    ]


def table(records: Iterable[dict[str, Any]]) -> list[str]:
    checks = FailedChecks()
    for record in records:
        checks.add(record)
    return checks.table()
