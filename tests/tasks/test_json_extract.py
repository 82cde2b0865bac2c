"""`json-extract --html`: the page that shows the values of a call in their texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.fake_engine import Script
from support.html_page import Page
from support.program import Run

from mistral_cli.errors import ExitCode

EXTRACT = ("json-extract", "--html", "page.html")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistral: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MISTRAL_CLI_MODEL", str(mistral))
    monkeypatch.setenv("MISTRAL_CLI_ENGINE", "fake")
    return folder


def read(folder: Path) -> Page:
    return Page((folder / "page.html").read_text(encoding="utf-8"))


def test_a_page_about_files_and_stdin_with_a_real_model(
    run: Run, here: Path, smollm2: Path
) -> None:
    texts = ["My name is Suvojit Hore.\r\n", "Zoë Müller lives in Ulm.\n"]
    (here / "a.txt").write_bytes(texts[0].encode())
    more = ("--fields", "name", "-f", "a.txt", "-f", "-", "-m", smollm2, "--seed", 1, "--json")
    result = run(*EXTRACT, *more, "--engine", "llama.cpp", stdin=texts[1])
    assert result.status == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    page = read(here)
    assert page.texts("block") == [text.rstrip() for text in texts]
    assert page.texts("h2")[2:] == ["a.txt (text 1 of 2)", "stdin (text 2 of 2)"]
    assert page.texts("value") == [answer["data"]["name"] for answer in answers]
    spans = [(answer["spans"][0]["start"], answer["spans"][0]["end"]) for answer in answers]
    assert page.texts("value") == [
        text[start:end] for text, (start, end) in zip(texts, spans, strict=True)
    ]
    # The page is replaced by the next call, and a list item by item has the same values.
    more = ("--fields", "name", "--jsonl", "-m", smollm2, "--engine", "llama.cpp")
    again = run(*EXTRACT, *more, "-f", "a.txt")
    assert again.status == 0, again.stderr
    items = [json.loads(line) for line in again.stdout.splitlines()]
    assert read(here).texts("value") == list(dict.fromkeys(item["name"] for item in items))


def test_values_that_are_not_in_the_text_and_parts_of_a_long_text(
    run: Run, here: Path, script: Script
) -> None:
    script(pieces=['[{"name": "Bob"}, {"name": "Eve"}]'])
    text = "\n".join(f"Line {number}. Bob is here." for number in range(400))
    (here / "long.txt").write_text(text)
    more = ("--fields", "name", "--no-grounded", "--many", "--overflow", "split", "-c", 600)
    result = run(*EXTRACT, *more, "-f", "long.txt", "-n", 100)
    assert result.status == 0, result.stderr
    page, chunks = read(here), len(json.loads(result.stdout)) // 2
    assert chunks > 2
    assert "".join(page.texts("block")) == text
    assert len(page.texts("missing")) == chunks
    assert page.all("value")[0][0]["aria-description"].startswith("[0].name, [2].name, ")


def test_the_page_of_a_run_that_fails(run: Run, here: Path, script: Script) -> None:
    script(pieces=['{"name": "Bob"}'], fail_on="second")
    more = ("--fields", "name", "--no-grounded")
    failed = run(*EXTRACT, *more, "Bob is the first", "the second", "Bob is the third")
    assert failed.status == ExitCode.ENGINE_FAILED
    page = read(here)
    assert page.texts("block") == ["Bob is the first"]
    assert page.texts("note") == ["The run ended early: this page has 1 of 3 texts."]
    (here / "page.html").unlink()
    assert run(*EXTRACT, *more, "the second").status == ExitCode.ENGINE_FAILED
    assert list(here.iterdir()) == []


def test_a_page_that_cannot_be_written(run: Run, here: Path, script: Script) -> None:
    script(pieces=['{"name": "Bob"}'])
    (here / "notes.txt").write_text("Bob")
    (here / "in.html").write_text("Bob")
    for arguments, problem in (
        (("--html", "-", "Bob"), "--html cannot write to stdout"),
        (("--html", ".", "Bob"), ". is a folder"),
        (("--html", "notes.txt", "Bob"), "notes.txt exists and was not written by"),
        (("--html", "in.html", "-f", "./in.html"), "in.html is an input of this command"),
        (("--html", "", "Bob"), "the value is empty"),
    ):
        result = run("json-extract", *arguments)
        assert (result.status, result.stdout) == (ExitCode.USAGE, ""), arguments
        assert problem in result.stderr
    for path in ("/dev/full", "notes.txt/page.html"):
        result = run("json-extract", "--fields", "name", "--html", path, "Bob")
        assert (result.status, result.stdout) == (ExitCode.FAILURE, '{"name": "Bob"}\n')
        assert f"cannot write {path}: " in result.stderr
    assert (here / "notes.txt").read_text() == "Bob"
