"""`summarize --cite`: citations in JSON, as footnotes, in batches; the check of support."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import lines_of, write_rows
from support.fake_engine import Script
from support.json_schemas import check_schema
from support.plans import LONG, answered, jobs_of
from support.program import Run
from support.terminals import on_a_terminal

from mistral_cli.checks.support.citations import Citation, Source
from mistral_cli.errors import UsageError
from mistral_cli.generation.checking.attempts import AnswerRejected
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.summaries.cited import cited_text, with_footnotes
from mistral_cli.tasks.summarize import summarize

TEXT = """# Notice

The water supply on Harbour Street will be shut off on Thursday, 14 May 2026
from 9 am to 3:30 pm. We replace forty metres of pipe.

The work will cost the city 18,500 euros."""
SOURCES = [
    "The water supply on Harbour Street will be shut off on Thursday, 14 May 2026\n"
    "from 9 am to 3:30 pm.",
    "The work will cost the city 18,500 euros.",
]
SENTENCES = [
    "The water on Harbour Street is shut off on Thursday.",
    "It costs the city 18.5 thousand euros.",
    "Elephants live in trees.",
]
ANSWER = " ".join(SENTENCES)
TRUE = " ".join(SENTENCES[:2])
PIECES = [ANSWER[:60], ANSWER[60:]]
MARKED = (
    "The water on Harbour Street is shut off on Thursday. [1] It costs the city 18.5 thousand "
    "euros. [2] Elephants live in trees. [?]"
)
NOTES = f"[1] {SOURCES[0]}\n[2] {SOURCES[1]}".replace("2026\nfrom", "2026 from")
WARNING = 'not supported: "Elephants live in trees." (no similar sentence in the text)'


def test_json_has_each_sentence_with_its_sources(run: Run, mistral: Path, script: Script) -> None:
    script(pieces=PIECES)
    shown = json.loads(
        run("summarize", TEXT, "--cite", "--json", "-m", mistral, "--engine", "fake").stdout
    )
    check_schema("answer", shown)
    assert shown["text"] == ANSWER
    first, second, third = shown["citations"]
    places = [(each["start"], each["end"]) for each in shown["citations"]]
    assert [ANSWER[start:end] for start, end in places] == SENTENCES
    assert [each["supported"] for each in shown["citations"]] == [True, True, False]
    assert third["sources"] == []
    for number, citation in enumerate((first, second), start=1):
        (source,) = citation["sources"]
        assert source["number"] == number
        assert source["text"] == TEXT[source["start"] : source["end"]] == SOURCES[number - 1]
    (check,) = (each for each in shown["checks"] if each["name"] == "support")
    assert (check["ok"], check["findings"][0]["text"]) == (False, "Elephants live in trees.")
    assert shown["warnings"] == [WARNING]


def test_a_pipe_and_a_terminal_get_marks_and_footnotes(
    run: Run, mistral: Path, script: Script
) -> None:
    script(pieces=PIECES)
    options = ("summarize", TEXT, "--cite", "-m", str(mistral), "--engine", "fake")
    piped = run(*options)
    assert piped.stdout == f"{MARKED}\n\n{NOTES}\n"
    assert f"mistral-cli: warning: {WARNING}\n" in piped.stderr
    shown = on_a_terminal(*options, "--width", "50").replace("\r", "")
    answer = shown[shown.index("The water on") : shown.index("mistral-cli: warning")]
    assert max(map(len, answer.splitlines())) <= 50
    assert answer.split() == f"{MARKED} {NOTES}".split()


def test_strict_fails_for_a_sentence_without_support(
    run: Run, mistral: Path, script: Script
) -> None:
    script(pieces=PIECES)
    options = ("--cite", "--strict", "-m", mistral, "--engine", "fake")
    refused = run("summarize", TEXT, *options)
    assert (refused.status, refused.stdout) == (7, "")
    assert f"error: {WARNING} (after 2 attempts)" in refused.stderr
    script(pieces=[TRUE])
    assert run("summarize", TEXT, *options).status == 0


def test_lengths_are_counted_without_marks_and_footnotes(mistral: Path) -> None:
    """The model answers twice what is too long: then it is cut."""
    task = summarize(sentences=1, cite=True)
    result, model = answered(task, mistral, TEXT, lambda _: ANSWER)
    assert result.answer.text == SENTENCES[0]
    assert [each.supported for each in result.citations or ()] == [True]
    assert len(model.requests) == 2
    most = len(ANSWER)
    result, model = answered(summarize(max_chars=most, cite=True), mistral, TEXT, lambda _: ANSWER)
    assert (result.answer.text, len(model.requests)) == (ANSWER, 1)


def test_a_strict_answer_is_requested_once_more(mistral: Path) -> None:
    answers = [ANSWER, TRUE]
    result, model = answered(
        summarize(cite=True, strict=True), mistral, TEXT, lambda _: answers.pop(0)
    )
    assert result.answer.text == TRUE
    assert WARNING in model.prompts[1]
    with pytest.raises(AnswerRejected):
        answered(summarize(cite=True, strict=True), mistral, TEXT, lambda _: ANSWER)


def test_the_sources_of_a_long_text_are_in_the_whole_text(mistral: Path) -> None:
    """The summaries of the chunks have sentences that the text does not have."""

    def reply(prompt: str) -> str:
        chunk = "one part of a longer text" in prompt
        return "Many boats were sold." if chunk else "They talked about boat 41. Boats were sold."

    result, _ = answered(summarize(cite=True), mistral, LONG, reply)
    assert result.chunks > 1
    assert result.citations is not None
    talked, sold = result.citations
    assert [each.text for each in talked.sources] == ["It talked about boat 41."]
    assert LONG[talked.sources[0].start :].startswith("It talked about boat 41.")
    assert sold.supported is False


def test_another_language_is_a_warning_and_no_failed_check(mistral: Path) -> None:
    german = (
        "Das Wasser wird abgestellt, weil die Stadt an dieser Stelle neue Rohre verlegen muss. "
        "Alle Bewohner sollen sich bitte rechtzeitig darauf einstellen."
    )
    result, _ = answered(summarize(cite=True, strict=True), mistral, TEXT, lambda _: german)
    assert [each.supported for each in result.citations or ()] == [None, None]
    assert "another language than the text" in result.warnings[-1]
    assert "support" not in [check.name for check in result.checks]


def test_bullet_points_are_marked_where_they_end() -> None:
    answer = "- One.\n- Two. Three."
    source = Source(1, 0, 4, "One thing.")
    citations = (Citation(2, 6, 1.0, True, (source,)), Citation(9, 20, 0.1, False))
    assert with_footnotes(answer, citations) == ("- One. [1]\n- Two. Three. [?]\n\n[1] One thing.")


def test_a_footnote_is_one_short_line() -> None:
    source = Source(1, 0, 900, "word\n  word " * 75)
    (note,) = with_footnotes("A.", [Citation(0, 2, 1.0, True, (source,))]).splitlines()[2:]
    assert note.startswith("[1] word word word")
    assert note.endswith(" …")
    assert len(note) <= 204


def test_edited_citations_of_a_results_file_are_left_out() -> None:
    for citations in (None, "x", [1], [{}], [{"start": "a"}], {"a": 1}):
        assert cited_text({"text": "Hello.", "citations": citations}) == "Hello."
    assert cited_text({"text": None}) is None


def test_a_batch_has_citations_in_each_format(
    run: Run, mistral: Path, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(pieces=PIECES)
    Path("notice.txt").write_text(TEXT)
    options = ("--cite", "-m", mistral, "--engine", "fake", "notice.txt")
    ended = run("batch", "summarize", *options, "-o", "out.jsonl", "--report", "page.html")
    assert "1 row has a sentence that the text does not support: notice.txt" in ended.stderr
    (record,) = lines_of(Path("out.jsonl").read_text())
    check_schema("batch-record", record)
    assert record["text"] == ANSWER
    assert [each["supported"] for each in record["citations"]] == [True, True, False]
    assert "[2] The work will cost" in Path("page.html").read_text()
    run("batch", "summarize", *options, "--output-dir", "folder")
    assert Path("folder/notice.txt").read_text() == f"{MARKED}\n\n{NOTES}\n"
    (line,) = lines_of(run("batch", "summarize", *options, "--format", "openai").stdout)
    message = line["response"]["body"]["choices"][0]["message"]
    assert message["content"] == f"{MARKED}\n\n{NOTES}"


def test_results_without_citations_are_not_taken_for_results_with_them(
    run: Run, mistral: Path, script: Script, tmp_path: Path
) -> None:
    script(pieces=PIECES)
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, TEXT)
    options = ("batch", "summarize", rows, "-o", tmp_path / "out.jsonl", "-m", mistral)
    run(*options, "--engine", "fake")
    run(*options, "--engine", "fake", "--cite")
    *_, record = lines_of((tmp_path / "out.jsonl").read_text())
    assert len(record["citations"]) == 3


def test_a_dry_run_lists_the_check(mistral: Path) -> None:
    for strict, reaction in ((False, "report"), (True, "fail")):
        task = summarize(cite=True, strict=strict)
        ((job,), planner) = jobs_of(task, mistral, TEXT)
        planned = task.strategy.rules_of(job, planner)(job.requests[0]).planned()
        assert [each.on_failure for each in planned if each.name == "support"] == [reaction]


def test_what_has_no_text_to_cite_is_refused() -> None:
    with pytest.raises(UsageError, match="--extractive and --cite cannot be combined"):
        summarize(extractive=True, cite=True)
    task = summarize(cite=True)
    builder = PromptBuilder.of(task, TaskOptions(raw=True))
    with pytest.raises(UsageError, match="--cite and --raw cannot be combined"):
        task.strategy.check(builder, None)


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
def test_a_real_model_is_cited_on_both_engines(
    run: Run, smollm2: Path, mistral: Path, tmp_path: Path, engine: str
) -> None:
    """The tiny model writes nothing that the text has; SmolLM2 copies much of a short text."""
    page = tmp_path / "page.html"
    page.write_text(f"<h1>Notice</h1><p>{TEXT.partition('The ')[2]}</p>")
    model = smollm2 if engine == "llama.cpp" else mistral
    options: tuple[Any, ...] = ("-m", model, "--engine", engine, "--temperature", 0, "-n", 60)
    shown = json.loads(run("summarize", "--cite", "--json", *options, "-f", page).stdout)
    check_schema("answer", shown)
    supported = [each for each in shown["citations"] if each["supported"]]
    assert bool(supported) == (engine == "llama.cpp")
    for each in supported:
        assert each["sources"][0]["text"].split()
