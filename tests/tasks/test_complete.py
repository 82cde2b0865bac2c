"""`complete`: the text as it is, and what the model writes after it or in its gap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.fake_engine import Script
from support.plans import jobs_of, request_of
from support.program import Run

from mistral_cli.errors import UsageError
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.tasks.complete import complete

ADD = "def add(a, b):\n    return \n\nx = 1\n"
GREEDY = ("--temperature", 0, "-q")


@pytest.fixture
def add(tmp_path: Path) -> Path:
    path = tmp_path / "add.py"
    path.write_text(ADD, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "a + b\n\nprint(f"),
        (("--lines", 1), "a + b"),
        (("--until", r"\bb"), "a + "),
        (("--block",), "a + b"),
        (("--stop", "+"), "a "),
        (("--block", "--echo"), ADD.replace("return ", "return a + b")),
    ],
)
def test_a_gap_is_filled(
    run: Run, coder: Path, add: Path, options: tuple[object, ...], expected: str
) -> None:
    result = run("complete", "-m", coder, "-f", add, "--cursor", "2:12", *options, *GREEDY)
    assert (result.stdout, result.stderr, result.status) == (expected, "", 0)


def test_a_suffix_is_what_follows_the_text(run: Run, coder: Path) -> None:
    shown = run("complete", "-m", coder, "--suffix", "end", "--dry-run", stdin="x =\n")
    assert shown.stdout.strip() == "<|fim_prefix|>x =\n<|fim_suffix|>end<|fim_middle|>"


def test_a_model_without_gaps_continues_the_end_only(run: Run, smollm2: Path) -> None:
    france = "The capital of France is"
    result = run("complete", "-m", smollm2, "--lines", 1, *GREEDY, france)
    assert result.stdout == " Paris."
    refused = run("complete", "-m", smollm2, "--suffix", ".", france)
    assert refused.status == 4
    assert "has no tokens for fill-in-the-middle" in refused.stderr
    assert refused.stdout == ""


def test_ctransformers_continues_a_text(run: Run, mistral: Path) -> None:
    """The model is not trained, so only the way there is tested: text in, more text out."""
    options = ("-m", mistral, "-n", 5, *GREEDY)
    answers = [
        run("complete", "--engine", engine, *options, stdin="Once upon")
        for engine in ("ctransformers", "llama.cpp")
    ]
    assert answers[0].status == answers[1].status == 0
    assert answers[0].stdout == answers[1].stdout != ""


@pytest.mark.parametrize("text", ["a\n", "a", "  a\n\n", "a\r\nb\r\n", "a\n  ", "\ta\t"])
def test_the_text_is_sent_with_all_its_whitespace(run: Run, mistral: Path, text: str) -> None:
    shown = run("complete", "-m", mistral, "--dry-run", "--json", "-q", stdin=text)
    assert json.loads(shown.stdout)["prompt"].removeprefix("<s>").removeprefix(" ") == text


def test_only_what_is_new_is_printed_as_it_is(run: Run, mistral: Path, script: Script) -> None:
    script(pieces=["  one", "\n two \n", "\n"])
    result = run("complete", "-m", mistral, "--engine", "fake", stdin="zero")
    assert result.stdout == "  one\n two \n\n"
    echoed = run("complete", "-m", mistral, "--engine", "fake", "--echo", stdin="zero\n")
    assert echoed.stdout == "zero\n  one\n two \n\n"


def test_blanks_after_the_last_word_are_not_written_twice(
    run: Run, mistral: Path, script: Script
) -> None:
    shown = run("complete", "-m", mistral, "--dry-run", "--json", "-q", stdin="a  ")
    assert json.loads(shown.stdout)["prompt"] == "<s> a"
    for pieces in (["   one", "  two"], [" ", "  one", "  two"]):
        script(pieces=pieces)
        result = run("complete", "-m", mistral, "--engine", "fake", stdin="zero  ")
        assert result.stdout == " one  two"
    script(pieces=["one"])
    result = run("complete", "-m", mistral, "--engine", "fake", "--echo", stdin="zero  ")
    assert result.stdout == "zero  one"


def test_a_blank_after_the_last_word_changes_nothing(run: Run, smollm2: Path) -> None:
    france = "The capital of France is "
    result = run("complete", "-m", smollm2, "--lines", 1, *GREEDY, "--echo", france)
    assert result.stdout == "The capital of France is Paris."


def test_several_texts_begin_on_lines_of_their_own(
    run: Run, mistral: Path, script: Script, add: Path
) -> None:
    script(pieces=["one"])
    result = run("complete", "-m", mistral, "--engine", "fake", "-f", add, "-f", add)
    assert result.stdout == "one\none"


def test_the_engine_stops_where_the_completion_ends(
    run: Run, mistral: Path, script: Script
) -> None:
    script(pieces=["one\n"] * 400, delay=0.001)
    arguments = ("complete", "-m", mistral, "--engine", "fake", "--lines", 2, "--json")
    answer = json.loads(run(*arguments, stdin="zero\n").stdout)
    assert answer["text"] == "one\none"
    assert answer["finish_reason"] == "stop"
    assert answer["completion_tokens"] < 10


def test_a_batch_completes_rows_and_files(run: Run, coder: Path, add: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "return <here>\\n"}\n', encoding="utf-8")
    options = ("-m", coder, "--block", *GREEDY)
    files = run("batch", "complete", add, "--input-format", "text", "--cursor", "2:12", *options)
    lines = run("batch", "complete", rows, "--cursor", "<here>", *options)
    assert [json.loads(each.stdout)["text"] for each in (files, lines)] == ["a + b", "a + b"]


def test_a_batch_knows_its_rows_again_unless_the_gap_is_another(
    run: Run, coder: Path, add: Path, tmp_path: Path
) -> None:
    options = ("-m", coder, "--input-format", "text", "-o", tmp_path / "out.jsonl", *GREEDY)
    keys = []
    for cursor in ("2:12", "2:12", "2:11"):
        run("batch", "complete", add, "--cursor", cursor, *options)
        [line] = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
        keys.append(json.loads(line)["key"])
    assert keys[0] == keys[1] != keys[2]


def test_a_batch_answers_a_row_again_that_has_got_a_blank(
    run: Run, coder: Path, script: Script, tmp_path: Path
) -> None:
    script(pieces=[" one"])
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    answers = []
    for text in ("zero", "zero "):
        rows.write_text(json.dumps({"text": text}), encoding="utf-8")
        run("batch", "complete", rows, "-m", coder, "--engine", "fake", "-q", "-o", out)
        answers.append(json.loads(out.read_text(encoding="utf-8").splitlines()[-1])["text"])
    assert answers == [" one", "one"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suffix", "a", "--cursor", "1"), "--suffix and --cursor cannot be combined"),
        (("--system", "x"), "so --system cannot add to it"),
        (("--template", "generate"), "so --template cannot add to it"),
        (("-p", "a=b"), "so -p cannot add to it"),
        (("another",), "so another text cannot add to it"),
        (("--overflow", "head"), "--overflow head would not keep"),
        (("--overflow", "split"), "--overflow split would not keep"),
        (("--reasoning", "on"), "has no reasoning to switch"),
        (("--until", "("), "--until is not a regular expression"),
        (("--cursor", "9"), "--cursor is in line 9"),
    ],
)
def test_options_that_cannot_work_are_refused(
    run: Run, mistral: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run("complete", "-m", mistral, *arguments, stdin="text")
    assert result.status == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_the_source_of_a_web_page_is_completed(
    run: Run, coder: Path, script: Script, tmp_path: Path
) -> None:
    """Other tasks read the text of the page; places in that are not places in the file."""
    script(pieces=["B"])
    page = tmp_path / "page.html"
    page.write_text("<p>A</p>\n<b></b>\n", encoding="utf-8")
    options = (page, "-m", coder, "--engine", "fake", "--cursor", "2:4", "--echo")
    assert run("complete", "-f", *options).stdout == "<p>A</p>\n<b>B</b>\n"
    row = json.loads(run("batch", "complete", *options).stdout)
    assert row["text"] == "<p>A</p>\n<b>B</b>\n"


LONG_CODE = "".join(f"line_{number} = {number}\n" for number in range(400))


def test_a_text_that_does_not_fit_keeps_what_is_near_the_gap(coder: Path) -> None:
    task = complete(cursor="200:1")
    ((job,), planner) = jobs_of(task, coder, LONG_CODE, max_tokens=50, context_length=1024)
    (request,) = job.requests
    prompt = detokenize(planner.config.model, request.request.prompt_token_ids)
    assert "line_198 = 198\n<|fim_suffix|>line_199 = 199\n" in prompt
    assert job.left_out.startswith("the first ")
    assert "characters after the gap" in job.left_out
    assert planner.config.longest * 0.8 < len(request.request.prompt_token_ids) + 50


def test_a_text_that_does_not_fit_is_refused_on_demand(run: Run, coder: Path) -> None:
    result = run("complete", "-m", coder, "-c", 512, "--overflow", "error", stdin=LONG_CODE)
    assert result.status == 5
    assert "use --overflow tail, or" in result.stderr


def test_what_was_left_out_is_reported(run: Run, coder: Path) -> None:
    result = run("complete", "-m", coder, "-c", 512, "-n", 5, stdin=LONG_CODE)
    assert "the text does not fit: the first" in result.stderr


def test_a_request_ends_with_the_text(mistral: Path) -> None:
    prepared, planner = request_of(complete(), mistral, "Once upon")
    model = planner.config.model
    assert detokenize(model, prepared.request.prompt_token_ids) == "<s> Once upon"


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="matches an empty text"):
        complete(until="x?")
