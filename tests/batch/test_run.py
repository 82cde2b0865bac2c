"""`mistral-cli batch` as a process: inputs, results, order, limits and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script
from support.json_schemas import check_schema

KEYS = {
    "id", "source", "text", "finish_reason", "prompt_tokens", "adapters",
    "cached_tokens",
    "completion_tokens", "reasoning_tokens", "checks", "chunks",
    "left_out", "timings", "memory", "seed", "warnings", "model", "engine", "error", "key",
}  # fmt: skip


def test_files_globs_and_folders_are_rows(batch: Batch, here: Path) -> None:
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
        check_schema("batch-record", line)
        assert (line["finish_reason"], line["engine"], line["error"]) == ("stop", "fake", None)
        assert line["completion_tokens"] == 3 < line["prompt_tokens"]
        assert line["timings"]["finished_at"] >= line["timings"]["generation_seconds"] >= 0


def test_json_objects_from_a_file_and_lines_from_stdin(batch: Batch, here: Path) -> None:
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


def test_missing_rows_and_wrong_options_are_usage_errors(batch: Batch, here: Path) -> None:
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
        (["rows.jsonl", "--report", "rows.jsonl"], "exists and was not written by"),
    ):
        result = batch("generate", *arguments)
        assert result.status == (2 if problem else 10)
        assert not problem or problem in result.stderr
    assert sorted(path.name for path in here.iterdir()) == ["rows.jsonl"]


def test_a_batch_does_not_read_its_own_results(batch: Batch, here: Path) -> None:
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


def test_ordered_results_are_in_input_order(batch: Batch, here: Path, script: Script) -> None:
    script(delay=0.01)
    texts = [f"row {'with very many words ' * (number % 3)}{number}" for number in range(12)]
    write_rows(here / "rows.jsonl", *texts)
    ids = [str(number) for number in range(1, 13)]
    args = ("generate", "rows.jsonl", "--parallel", 4, "--ordered")
    assert list(texts_of(batch(*args).stdout)) == ids
    # Rows of earlier runs and of this one are sorted together.
    write_rows(here / "rows.jsonl", *texts[5:], *texts[:5])
    assert batch("generate", "rows.jsonl", "-o", "out.jsonl", "--limit", 5).status == 0
    assert batch(*args, "-o", "out.jsonl").status == 0
    assert list(texts_of(here / "out.jsonl")) == ids


def test_unusual_characters_are_kept(batch: Batch, here: Path) -> None:
    odd = "a\u2028b\u0085c\x7f\U0001f600"
    (here / "rows.jsonl").write_text(json.dumps({"id": odd, "text": odd}) + "\n")
    for _ in range(2):
        result = batch("generate", "rows.jsonl", "-o", "out.jsonl")
        assert result.status == 0
    assert "1 of 1 rows done, 1 of them" in result.stderr
    (line,) = lines_of(here / "out.jsonl")
    assert line["id"] == odd
    assert line["text"] == " ".join(odd.split())  # the fake engine answers in words


def test_a_very_long_row_is_cut(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "word " * 100_000 + "the very end")
    for _ in range(2):
        args = ("rows.jsonl", "-o", "out.jsonl", "--overflow", "tail", "-n", 10)
        assert batch("generate", *args).status == 0
    (line,) = lines_of(here / "out.jsonl")
    assert line["text"] == "the very end"
    assert "characters" in line["left_out"]
    assert line["warnings"]


def test_report_errors_come_after_failed_rows(batch: Batch, here: Path, script: Script) -> None:
    script(fail_on="second")
    write_rows(here / "rows.jsonl", "the first", "the second")
    for more in (("-o", "out.jsonl"), ()):
        result = batch("generate", "rows.jsonl", *more, "--report", "new/page.html")
        assert result.status == 10
        assert ("With -o FILE, a later run with --retry-failed" in result.stderr) == (not more)
        page = (here / "new" / "page.html").read_text()
        assert "the prompt has second" in page
    blocked = batch("generate", "rows.jsonl", "-o", "out.jsonl", "--report", "rows.jsonl/x")
    assert blocked.status == 10  # the failed row decides the exit code
    script()
    blocked = batch(
        "generate", "rows.jsonl", "-o", "out.jsonl", "--report", "rows.jsonl/x", "--retry-failed"
    )
    assert blocked.status == 1
    assert "cannot write rows.jsonl/x" in blocked.stderr


def test_limit_is_the_number_of_rows_processed(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "a", "b", "c", "d", "e")
    result = batch("generate", "rows.jsonl", "-o", "out.jsonl", "--limit", 2)
    assert (result.status, set(texts_of(here / "out.jsonl"))) == (0, {"1", "2"})
    assert "2 of 5 rows done, 0 failed, 3 left" in result.stderr
    result = batch("generate", "rows.jsonl", "-o", "out.jsonl", "--limit", 2)
    assert "4 of 5 rows done, 2 of them in earlier runs, 0 failed, 1 left" in result.stderr
    result = batch("generate", "rows.jsonl", "--limit", 3, "--ordered")
    assert list(texts_of(result.stdout)) == ["1", "2", "3"]


def test_a_batch_stops_after_max_failures(batch: Batch, here: Path, script: Script) -> None:
    script(fail_on="bad")
    write_rows(here / "rows.jsonl", "bad 1", "good", "bad 2", "bad 3", "bad 4", "good too")
    args = ("generate", "rows.jsonl", "-o", "out.jsonl", "--parallel", 1, "--max-failures", 2)
    result = batch(*args)
    assert result.status == 10
    assert "stopped after 2 failures" in result.stderr
    assert "Run the same command again to continue." in result.stderr
    assert "1 of 6 rows done, 2 failed, 3 left" in result.stderr
    result = batch(*args)  # failures of earlier runs do not count
    assert "1 of 6 rows done, 1 of them in earlier runs, 4 failed, 1 left" in result.stderr
    result = batch(*args)
    assert "2 of 6 rows done, 1 of them in earlier runs, 4 failed\n" in result.stderr
    assert "4 of 6 rows failed" in result.stderr


@pytest.mark.parametrize("arguments", [("--sentences", 2), ("--bullets", 3)])
def test_a_batch_checks_answers_as_a_single_call_does(
    batch: Batch, here: Path, arguments: tuple[str, int]
) -> None:
    """Rows go through the same code as single texts."""
    write_rows(here / "rows.jsonl", "Some text. It has three. Sentences in all.")
    result = batch("summarize", "rows.jsonl", *arguments)
    (line,) = lines_of(result.stdout)
    assert any("retried" in warning or "not" in warning for warning in line["warnings"])
