"""`mistral-cli batch`: rows in, results out, with every option; real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script

KEYS = {
    "id", "source", "text", "finish_reason", "prompt_tokens", "adapters",
    "cached_tokens",
    "completion_tokens", "chunks",
    "left_out", "timings", "seed", "warnings", "model", "engine", "error", "key",
}  # fmt: skip


# --- rows --------------------------------------------------------------------------------------


def test_files_globs_and_folders(batch: Batch, here: Path) -> None:
    for name in ("a.txt", "deep/b.txt", "deep/deeper/c.md", "d/e.txt", "left/out.md"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(f"the text {name}\n")
    result = batch("generate", "a.txt", "deep", "**/e.*", "-o", "new/out.jsonl", "--ordered")
    assert (result.status, result.stdout) == (0, "")
    assert result.stderr == "mistral-cli: 4 of 4 rows done, 0 failed\n"
    lines = lines_of(here / "new" / "out.jsonl")
    names = ["a.txt", "deep/b.txt", "deep/deeper/c.md", "d/e.txt"]
    assert [line["id"] for line in lines] == [line["source"] for line in lines] == names
    assert [line["text"] for line in lines] == [f"the text {name}" for name in names]
    for line in lines:
        assert set(line) == KEYS
        assert (line["finish_reason"], line["engine"], line["error"]) == ("stop", "fake", None)
        assert line["completion_tokens"] == 3 < line["prompt_tokens"]
        assert line["timings"]["finished_at"] >= line["timings"]["generation_seconds"] >= 0


def test_a_table_and_a_prompt_with_places(batch: Batch, here: Path) -> None:
    (here / "t.csv").write_text('no;author;body;\n7;Zoë;hello, "you";x\n8;Ann;bye;y\n')
    args = ("generate", "t.csv", "--text-field", "body", "--id-field", "no", "-o", "out.jsonl")
    assert batch(*args, "--prompt", "Rate {text} of {author}").status == 0
    assert texts_of(here / "out.jsonl") == {"7": '"you" of Zoë', "8": "bye of Ann"}
    # Without {text} it stands after the text; braces that name nothing of ours stay.
    assert batch(*args, "--prompt", "JSON like {} by {author}").status == 0
    assert texts_of(here / "out.jsonl") == {"7": "{} by Zoë", "8": "{} by Ann"}


def test_a_place_that_stands_for_nothing(batch: Batch, here: Path) -> None:
    """What would be wrong with every row is told before the first."""
    (here / "t.jsonl").write_text('{"text": "one two", "by": "Zoë"}\n{"text": "b"}\n')
    result = batch("generate", "t.jsonl", "-o", "out.jsonl", "--prompt", "{text} {titel}")
    assert result.status == 2
    assert "no row has what {titel} in --prompt stands for" in result.stderr
    assert "They have {by}, {text}." in result.stderr
    assert not (here / "out.jsonl").exists()
    result = batch("generate", "t.jsonl", "-o", "out.jsonl", "--prompt", "{text} {by}")
    assert result.status == 10
    assert texts_of(here / "out.jsonl") == {
        "t.jsonl:1": "one two Zoë",
        "t.jsonl:2": "t.jsonl:2 has no 'by'",
    }


def test_objects_from_a_file_and_lines_from_stdin(batch: Batch, here: Path) -> None:
    rows = '{"id": 5, "text": "one two three"}\n\n{"text": 7}\nno json\n'
    (here / "rows.jsonl").write_text(rows)
    result = batch("generate", "rows.jsonl", "-o", "out.jsonl")
    assert result.status == 10
    assert "no json" not in result.stderr
    assert set(texts_of(here / "out.jsonl")) == {"5", "rows.jsonl:3", "rows.jsonl:4"}
    result = batch("generate", "-", stdin="first of lines\r\n\nsecond of lines\n")
    assert texts_of(result.stdout) == {"stdin:1": "first of lines", "stdin:3": "second of lines"}
    result = batch("generate", "--input-format", "jsonl", stdin=rows.partition("\n")[0])
    assert texts_of(result.stdout) == {"5": "one two three"}


def test_no_rows_and_wrong_options(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "x")
    for arguments, problem in (
        (["none/*.txt"], "matches no file"),
        (["rows.jsonl", ""], "an input has an empty name"),
        (["rows.jsonl", "--id-field", "nr"], None),
        (["rows.jsonl", "--parallel", "0"], "--parallel cannot be '0'"),
        (["rows.jsonl", "--parallel", "many"], "--parallel cannot be 'many'"),
        (["rows.jsonl", "--timeout", "nan"], "--timeout"),
        (["rows.jsonl", "--input-format", "xml"], "'xml' is not one of"),
        (["rows.jsonl", "-o", "a.jsonl", "--output-dir", "b"], "exclude each other"),
        (["rows.jsonl", "--output-dir", "b"], "needs whole files"),
        (
            ["rows.jsonl", "--output-dir", "b", "--format", "openai"],
            "does not apply to --output-dir",
        ),
        (["rows.jsonl", "-o", "."], ". is not a regular file"),
        (["rows.jsonl", "-o", "/dev/full"], "is not a regular file"),
        (["rows.jsonl", "-o", "/dev/stdout"], "/dev/stdout is not a regular file"),
        (["rows.jsonl", "-o", "a", "--report", "./a"], "-o and --report are the same file"),
        (["rows.jsonl", "--report", "rows.jsonl"], "exists and is not a batch report"),
    ):
        result = batch("generate", *arguments)
        assert result.status == (2 if problem else 10)
        assert not problem or problem in result.stderr
    assert sorted(path.name for path in here.iterdir()) == ["rows.jsonl"]


def test_what_a_batch_wrote_is_no_input_of_the_next(batch: Batch, here: Path) -> None:
    (here / "texts").mkdir()
    (here / "a.jsonl").write_text("")
    (here / "texts" / "a.txt").write_text("the first text")
    for more in (("-o", "texts/out.jsonl"), ("--output-dir", "texts/es")):
        for _ in range(2):
            result = batch("generate", "texts", *more, "--report", "texts/page.html")
            assert result.status == 0
        assert result.stderr.startswith("mistral-cli: 1 of 1 rows done, 1 of them in earlier")
        (here / "texts" / "out.jsonl").unlink(missing_ok=True)
    assert batch("generate", "a.jsonl", "-o", "a.jsonl").status == 2


# --- results -----------------------------------------------------------------------------------


def test_extracted_json(batch: Batch, here: Path, script: Script) -> None:
    script(pieces=['{"name": "Zoë"}'])
    write_rows(here / "rows.jsonl", "Zoë lives here", "Nobody does")
    result = batch("json-extract", "rows.jsonl", "--fields", "name", "-o", "out.jsonl")
    assert result.status == 10
    good, bad = sorted(lines_of(here / "out.jsonl"), key=lambda line: str(line["id"]))
    assert good["data"] == {"name": "Zoë"}
    assert good["spans"]
    assert "text" not in good
    assert bad["error"]["code"] == 7
    assert bad["error"]["details"]
    assert "--jsonl" in batch("json-extract", "rows.jsonl", "--jsonl").stderr


def test_null_is_an_answer(batch: Batch, here: Path, script: Script) -> None:
    script(pieces=["null"])
    (here / "a.txt").write_text("nothing")
    args = ("json-extract", "a.txt", "--schema", '{"type": "null"}')
    assert batch(*args, "--output-dir", "out").status == 0
    assert (here / "out" / "a.json").read_text() == "null\n"
    result = batch(*args, "--format", "openai")
    (line,) = lines_of(result.stdout)
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "null"


def test_openai_requests(batch: Batch, here: Path) -> None:
    def request(name: str, **body: Any) -> str:
        said = [{"role": "user", "content": f"the words {name}"}]
        where = {"method": "POST", "url": "/v1/chat/completions"}
        return json.dumps({"custom_id": name, **where, "body": {"messages": said, **body}})

    rows = [request("a", max_tokens=2), request("b", seed=3), request("c", tools=[{}])]
    (here / "in.jsonl").write_text("\n".join(rows))
    result = batch("generate", "in.jsonl", "--format", "openai", "-o", "o.jsonl", "--ordered")
    assert result.status == 10
    assert "body.tools is not supported" in result.stderr
    a, b, c = lines_of(here / "o.jsonl")
    for line in (a, b, c):
        assert set(line) == {"id", "custom_id", "response", "error"}
    assert (a["custom_id"], a["error"], a["response"]["status_code"]) == ("a", None, 200)
    body = a["response"]["body"]
    assert set(body) == {"id", "object", "created", "model", "choices", "usage"}
    assert (body["object"], type(body["created"])) == ("chat.completion", int)
    (choice,) = body["choices"]
    message = {"role": "assistant", "content": "the words"}
    assert choice == {"index": 0, "message": message, "finish_reason": "length"}
    usage = body["usage"]
    assert usage["completion_tokens"] == 2
    assert usage["total_tokens"] == usage["prompt_tokens"] + 2
    assert b["response"]["body"]["choices"][0]["finish_reason"] == "stop"
    assert c["response"] is None
    assert c["error"]["code"] == "usage"
    again = batch("generate", "in.jsonl", "--format", "openai", "-o", "o.jsonl", "--ordered")
    assert again.stderr.startswith("mistral-cli: 2 of 3 rows done, 2 of them in earlier runs, 1 f")
    assert lines_of(here / "o.jsonl") == [a, b, c]


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("summarize", ("--sentences", 2)),
        ("json-extract", ("--fields", "a")),
        ("generate", ("--prompt", "Answer {text}")),
        ("generate", ("--system", "Be brief.")),
        ("generate", ("--raw",)),
    ],
)
def test_nothing_that_is_said_is_passed_over_for_openai_requests(
    batch: Batch, here: Path, task: str, more: tuple[object, ...]
) -> None:
    said = {"messages": [{"role": "user", "content": "hello"}]}
    (here / "in.jsonl").write_text(json.dumps({"custom_id": "a", "body": said}))
    result = batch(task, "in.jsonl", *more)
    assert result.status == 2
    assert "in.jsonl:1 is an OpenAI request, which says itself what is asked" in result.stderr


def test_the_order_of_the_inputs(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.01)
    texts = [f"row {'with very many words ' * (number % 3)}{number}" for number in range(12)]
    write_rows(here / "rows.jsonl", *texts)
    ids = [str(number) for number in range(1, 13)]
    args = ("generate", "rows.jsonl", "--parallel", 4, "--ordered")
    assert list(texts_of(batch(*args).stdout)) == ids
    # What is done already and what is not are brought into one order.
    write_rows(here / "rows.jsonl", *texts[5:], *texts[:5])
    assert batch("generate", "rows.jsonl", "-o", "out.jsonl", "--limit", 5).status == 0
    assert batch(*args, "-o", "out.jsonl").status == 0
    assert list(texts_of(here / "out.jsonl")) == ids


def test_stdout_may_be_closed_or_full(batch: Batch, here: Path, mistral: Path) -> None:
    def shell(command: str) -> str:
        ours = f"{sys.executable} -m mistral_cli batch generate rows.jsonl --engine fake"
        whole = f"{ours} -m {mistral} -q {command}"
        return subprocess.run(
            ["sh", "-c", whole], capture_output=True, text=True, timeout=120, check=True
        ).stdout

    write_rows(here / "rows.jsonl", *(f"row number {number}" for number in range(300)))
    result = batch("generate", "rows.jsonl", "-o", "-", "--parallel", 3)
    assert len(texts_of(result.stdout)) == 300
    closed = shell("2>&1 | head -1")
    assert (closed.count("\n"), closed[:7]) == (1, '{"id": ')
    assert "cannot write the answer: No space left" in shell("2>&1 >/dev/full | cat")


def test_odd_characters(batch: Batch, here: Path) -> None:
    odd = "a\u2028b\u0085c\x7f\U0001f600"
    (here / "rows.jsonl").write_text(json.dumps({"id": odd, "text": odd}) + "\n")
    for _ in range(2):
        result = batch("generate", "rows.jsonl", "-o", "out.jsonl")
        assert result.status == 0
    assert "1 of 1 rows done, 1 of them" in result.stderr
    (line,) = lines_of(here / "out.jsonl")
    assert line["id"] == odd
    assert line["text"] == " ".join(odd.split())  # the engine says words


def test_a_very_long_row(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "word " * 100_000 + "the very end")
    for _ in range(2):
        args = ("rows.jsonl", "-o", "out.jsonl", "--overflow", "tail", "-n", 10)
        assert batch("generate", *args).status == 0
    (line,) = lines_of(here / "out.jsonl")
    assert line["text"] == "the very end"
    assert "characters" in line["left_out"]
    assert line["warnings"]


def test_a_report(batch: Batch, here: Path, script: Script) -> None:
    script(fail_on="second")
    write_rows(here / "rows.jsonl", "the first", "the second")
    for more in (("-o", "out.jsonl"), ()):
        result = batch("generate", "rows.jsonl", *more, "--report", "new/page.html")
        assert result.status == 10
        assert ("With -o FILE `--retry-failed`" in result.stderr) == (not more)
        page = (here / "new" / "page.html").read_text()
        assert "the prompt has second" in page
    blocked = batch("generate", "rows.jsonl", "-o", "out.jsonl", "--report", "rows.jsonl/x")
    assert blocked.status == 10  # what is worse goes first
    script()
    blocked = batch(
        "generate", "rows.jsonl", "-o", "out.jsonl", "--report", "rows.jsonl/x", "--retry-failed"
    )
    assert blocked.status == 2
    assert "cannot write rows.jsonl/x" in blocked.stderr


# --- how much is done --------------------------------------------------------------------------


def test_a_limit(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "a", "b", "c", "d", "e")
    result = batch("generate", "rows.jsonl", "-o", "out.jsonl", "--limit", 2)
    assert (result.status, set(texts_of(here / "out.jsonl"))) == (0, {"1", "2"})
    assert "2 of 5 rows done, 0 failed, 3 left" in result.stderr
    result = batch("generate", "rows.jsonl", "-o", "out.jsonl", "--limit", 2)
    assert "4 of 5 rows done, 2 of them in earlier runs, 0 failed, 1 left" in result.stderr
    result = batch("generate", "rows.jsonl", "--limit", 3, "--ordered")
    assert list(texts_of(result.stdout)) == ["1", "2", "3"]


@pytest.mark.parametrize(("words", "in_parts"), [(20, False), (900, True)])
def test_a_dry_run_says_which_level_of_summaries_it_counts(
    batch: Batch, here: Path, script: Script, words: int, in_parts: bool
) -> None:
    script(delay=0.001)
    write_rows(here / "rows.jsonl", "long " * words)
    result = batch("summarize", "rows.jsonl", "--dry-run", "-c", 512, "-n", 20)
    assert (lines_of(result.stdout)[0]["requests"] > 1) == in_parts
    assert ("the summaries of parts' summaries come on top" in result.stderr) == in_parts


def test_a_dry_run_counts_and_writes_nothing(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.001)
    write_rows(here / "rows.jsonl", "a", "b", "long " * 200)
    args = ("rows.jsonl", "--dry-run", "-n", 20, "-c", 400)
    for more in (("-o", "new/out.jsonl"), ()):
        result = batch("generate", *args, *more)
        assert result.status == 0
        (told,) = lines_of(result.stdout)
        assert (told["rows"], told["to_do"], told["done"], told["would_fail"]) == (3, 3, 0, 1)
        assert (told["requests"], told["context_length"]) == (2, 400)
        assert told["prompt_tokens"] > 0
        assert "about" in result.stderr
    assert [path.name for path in here.iterdir()] == ["rows.jsonl"]
    assert batch("generate", *args[:1], "-n", 20, "-c", 400, "-o", "out.jsonl").status == 10
    before = (here / "out.jsonl").read_bytes() + b'{"id": "to'
    (here / "out.jsonl").write_bytes(before)
    result = batch("generate", *args, "-o", "out.jsonl", "--limit", 1)
    (told,) = lines_of(result.stdout)
    assert (told["done"], told["failed_before"], told["to_do"]) == (2, 1, 0)
    assert told["estimated_seconds"] == 0
    assert (here / "out.jsonl").read_bytes() == before
    (told,) = lines_of(batch("generate", *args, "-o", "out.jsonl", "--retry-failed").stdout)
    assert (told["to_do"], told["would_fail"]) == (1, 1)


def test_how_many_at_once(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.1)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(8)))
    ends = {}
    for number in (1, 8):
        result = batch("generate", "rows.jsonl", "--parallel", number, "-v")
        assert f"{number} slot" in result.stderr
        lines = lines_of(result.stdout)
        ends[number] = max(line["timings"]["finished_at"] for line in lines)
        assert len(texts_of(result.stdout)) == 8
    assert ends[1] > 8 * 4 * 0.1
    assert ends[8] < ends[1] / 2


def test_progress_in_a_log(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.2)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(4)))
    args = ("generate", "rows.jsonl", "--parallel", 1, "--progress-every")
    assert " of 4 rows, " in batch(*args, 0.5).stderr
    assert " of 4 rows, " not in batch(*args, 0).stderr


@pytest.mark.parametrize("arguments", [("--sentences", 2), ("--bullets", 3)])
def test_every_task_in_its_own_way(batch: Batch, here: Path, arguments: tuple[str, int]) -> None:
    """The rows go through the code that texts go through one at a time."""
    write_rows(here / "rows.jsonl", "Some text. It has three. Sentences in all.")
    result = batch("summarize", "rows.jsonl", *arguments)
    (line,) = lines_of(result.stdout)
    assert any("asked again" in warning or "not" in warning for warning in line["warnings"])
