"""`batch json-extract --html`: the page that shows the values in the texts of the rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.batch_program import Batch, lines_of, write_rows
from support.fake_engine import Script
from support.html_page import Page

from mistral_cli.batch import highlights

EXTRACT = ("json-extract", "rows.jsonl", "--fields", "name", "--html", "page.html")


def read(folder: Path) -> Page:
    return Page((folder / "page.html").read_text(encoding="utf-8"))


def test_the_page_of_a_batch_shows_earlier_results_too(
    batch: Batch, here: Path, script: Script
) -> None:
    texts = ["Bob is here", "the failing Bob", "Bob <b>again</b>, Bob"]
    write_rows(here / "rows.jsonl", *texts)
    script(pieces=['{"name": "Bob"}'], fail_on="failing")
    first = batch(*EXTRACT, "-o", "out.jsonl", "--limit", 1)
    assert first.status == 0, first.stderr
    page = read(here)
    assert page.texts("block") == texts[:1]
    assert page.texts("note") == ["This page shows 1 of 3 rows: 2 have no result yet."]
    assert batch(*EXTRACT, "-o", "out.jsonl", "--report", "report.html").status == 10
    page = read(here)
    assert page.texts("block") == [texts[0], texts[2]]
    assert page.texts("value") == ["Bob", "Bob"]
    assert page.texts("h2")[2:] == ["1", "3"]
    assert page.texts("note") == ["This page shows 2 of 3 rows: 1 failed."]
    # A row whose text has changed has an old result, which is not about this text.
    write_rows(here / "rows.jsonl", "failing now", *texts[1:])
    assert batch(*EXTRACT, "-o", "out.jsonl").status == 10
    assert read(here).texts("block") == texts[2:]


def test_other_places_and_formats_of_results(batch: Batch, here: Path, script: Script) -> None:
    script(pieces=['{"name": "Bob"}'])
    write_rows(here / "rows.jsonl", "Bob is here", "and Bob there")
    for more, text in (
        ((), "Bob is here"),
        (("-o", "openai.jsonl", "--format", "openai"), "Bob is here"),
        (("-o", "openai.jsonl", "--format", "openai"), "Bob is here"),
        (("-o", "out.jsonl", "--prompt", "Who? {text}"), "Who? Bob is here"),
    ):
        result = batch(*EXTRACT, *more)
        assert result.status == 0, result.stderr
        assert read(here).texts("block")[0] == text
        assert read(here).texts("value") == ["Bob", "Bob"]
    spans = {line["id"]: line["spans"][0]["start"] for line in lines_of(here / "out.jsonl")}
    assert spans == {"1": 5, "2": 9}
    folder = here / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("Bob")
    for _ in range(2):  # the page is no input, though it is in the folder of the inputs
        more = ("--fields", "name", "--html", "texts/page.html", "--output-dir", "new")
        assert batch("json-extract", "texts", *more).status == 0
        assert read(folder).texts("block") == ["Bob"]


def test_problems_are_found_before_the_first_row(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "Bob")
    for arguments, problem in (
        (("--html", "-"), "--html cannot write to stdout"),
        (("--report", "-"), "--report cannot write to stdout"),
        (("--html", "rows.jsonl"), "was not written by mistral-cli json-extract"),
        (("--html", "a.html", "--report", "./a.html"), "--report and --html are the same file"),
        (("--html", "a.jsonl", "-o", "a.jsonl"), "-o and --html are the same file"),
    ):
        result = batch("json-extract", "rows.jsonl", *arguments)
        assert result.status == 2, arguments
        assert problem in result.stderr
    assert [path.name for path in here.iterdir()] == ["rows.jsonl"]


def test_a_page_has_no_more_rows_than_a_browser_can_show(
    batch: Batch, here: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(highlights, "_MAX_ROWS", 3)
    monkeypatch.setattr(highlights, "_MAX_TEXT", 8)
    from support.batch_records import work_item

    items = [work_item(str(number), "key") for number in range(5)]
    prompts = None
    page = highlights.RowHighlights(here / "page.html", prompts)  # type: ignore[arg-type]
    page.see(items)
    page.write([json.loads('{"id": "0", "key": "other", "error": null}')], {}, 5)
    (note,) = read(here).texts("note")
    assert note.startswith(
        "This page shows 0 of 5 rows: 3 have no result yet, 2 are left out, so that the page stays"
    )
    assert "with the same -o" in note
