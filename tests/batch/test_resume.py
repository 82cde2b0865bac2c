"""A batch that is run again does what is missing, and nothing twice."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.batch_program import Batch, lines_of, texts_of, write_rows
from support.fake_engine import Script
from support.terminals import make_terminal

from mistral_cli.batch.formats import NativeFormat, OpenAIFormat
from mistral_cli.batch.input.rows import Row
from mistral_cli.batch.prompts import Item
from mistral_cli.batch.resume import ResumePlan
from mistral_cli.batch.sinks.file import FileSink
from mistral_cli.errors import UsageError

OUT = ("-o", "out.jsonl")


def open_results(path: Path, line_format: Any = None) -> FileSink:
    return FileSink(path, line_format or NativeFormat(), make_terminal(), dry_run=False)


def plan_of(sink: FileSink, items: list[Item]) -> ResumePlan:
    options: Any = SimpleNamespace(retry_failed=False, force=False)
    return sink.resume_plan(items, options)


def record(name: str, key: str, **more: Any) -> dict[str, Any]:
    said = {"id": name, "source": name, "text": f"{key} é", "error": None, "key": key}
    counts = {"prompt_tokens": 1, "completion_tokens": 1, "finish_reason": "stop"}
    return {**said, **counts, **more}


def item(name: str, key: str) -> Item:
    return Item(Row(name, name), key)


def identities(path: Path) -> list[tuple[str, str]]:
    return [(line["id"], line["key"]) for line in lines_of(path)]


# --- the second run ----------------------------------------------------------------------------


def test_the_second_run_has_nothing_to_do(batch: Batch, here: Path, script: Script) -> None:
    write_rows(here / "rows.jsonl", "a", "b")
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    before, stamp = (here / "out.jsonl").read_bytes(), (here / "out.jsonl").stat()
    script(error="an engine was opened")
    result = batch("generate", "rows.jsonl", *OUT, "-v")
    assert result.status == 0
    assert "2 of 2 rows done, 2 of them in earlier runs, 0 failed" in result.stderr
    assert "slot" not in result.stderr
    assert (here / "out.jsonl").read_bytes() == before
    assert (here / "out.jsonl").stat().st_ino == stamp.st_ino
    quiet = batch("generate", "rows.jsonl", *OUT, "-q")
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, "", "")


def test_what_changes_is_done_anew(batch: Batch, here: Path, mistral: Path) -> None:
    """Each time the file tells of the present rows only, and the others keep their lines."""
    write_rows(here / "rows.jsonl", "a", "b")
    template = here / "t.txt"
    template.write_text("Say this: {{ text }} {{ tail }}\n")
    own = ("--template", template, "-p", "tail=x")
    (here / "copy.gguf").write_bytes(mistral.read_bytes() + b"\0" * 32)
    for more, done in (
        ((), 0),
        ((), 2),
        (("--seed", 5), 0),
        (("--seed", 6), 0),
        (("--temperature", 0.5), 0),
        (("-n", 100), 0),
        (("--stop", "zzz"), 0),
        (("-s", "Be brief."), 0),
        (("--prompt", "Echo: {text}"), 0),
        (("--overflow", "head"), 0),
        (("--raw",), 0),
        (own, 0),
        ((*own[:2], "-p", "tail=y"), 0),
        ((*own[:2], "-p", "tail=y", "--parallel", 1, "-t", 1, "--timeout", 100), 2),
        (("-m", "copy.gguf"), 0),
    ):
        result = batch("generate", "rows.jsonl", *OUT, *more)
        assert result.status == 0
        told = f", {done} of them in earlier runs" if done else ""
        assert f"2 of 2 rows done{told}, 0 failed" in result.stderr, more
        assert set(texts_of(here / "out.jsonl")) == {"1", "2"}
    template.write_text("Tell this: {{ text }} {{ tail }}\n")
    assert "2 of 2 rows done, 0" in batch("generate", "rows.jsonl", *OUT, *own).stderr
    kept = {line["id"]: line for line in lines_of(here / "out.jsonl")}["1"]
    write_rows(here / "rows.jsonl", "a", "changed", "new")
    result = batch("generate", "rows.jsonl", *OUT, *own)
    assert "3 of 3 rows done, 1 of them in earlier" in result.stderr
    lines = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert lines["1"] == kept
    assert lines["2"]["text"] == "this: changed x"


def test_renamed_files_and_shifted_lines(batch: Batch, here: Path) -> None:
    for name in "abc":
        (here / f"{name}.txt").write_text(f"the text of {name}")
    (here / "t.csv").write_text("text\nfirst row here\nsecond row here\n")
    assert batch("generate", "*.txt", "t.csv", *OUT).status == 0
    before = texts_of(here / "out.jsonl")
    (here / "a.txt").rename(here / "z.txt")
    (here / "b.txt").rename(here / "a.txt")
    (here / "t.csv").write_text("text\nnew row here\nfirst row here\nsecond row here\n")
    result = batch("generate", "*.txt", "t.csv", *OUT, "--ordered")
    assert "6 of 6 rows done, 5 of them in earlier runs" in result.stderr
    assert [(line["id"], line["text"]) for line in lines_of(here / "out.jsonl")] == [
        ("a.txt", before["b.txt"]),
        ("c.txt", before["c.txt"]),
        ("z.txt", before["a.txt"]),
        ("t.csv:2", "new row here"),
        ("t.csv:3", before["t.csv:2"]),
        ("t.csv:4", before["t.csv:3"]),
    ]
    assert all(line["source"] == line["id"] for line in lines_of(here / "out.jsonl"))


def test_rows_of_the_same_content_and_rows_that_went(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "same", "same", "other")
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    write_rows(here / "rows.jsonl", "same")
    result = batch("generate", "rows.jsonl", *OUT)
    assert "1 of 1 rows done, 1 of them in earlier" in result.stderr
    assert set(texts_of(here / "out.jsonl")) == {"1", "2", "3"}
    write_rows(here / "rows.jsonl", "same", "same", "same", "same")
    result = batch("generate", "rows.jsonl", *OUT)
    assert "4 of 4 rows done, 2 of them in earlier" in result.stderr
    assert set(texts_of(here / "out.jsonl")) == {"1", "2", "3", "4"}


def test_failures_are_tried_again_only_on_demand(batch: Batch, here: Path, script: Script) -> None:
    script(fail_on="bad")
    write_rows(here / "rows.jsonl", "good", "bad")
    args = ("generate", "rows.jsonl", *OUT)
    result = batch(*args, "-q")
    assert result.status == 10
    assert result.stderr == (
        "2  the prompt has bad\n"
        "mistral-cli: error: 1 of 2 rows failed\n  `--retry-failed` tries them again.\n"
    )
    script()
    result = batch(*args)
    assert result.status == 10
    assert "1 of 2 rows done, 1 of them in earlier runs, 1 failed" in result.stderr
    assert "2  the prompt has bad" in result.stderr  # which, and why, also of an earlier run
    result = batch(*args, "--retry-failed")
    assert (result.status, texts_of(here / "out.jsonl")["2"]) == (0, "[INST] bad")
    first = lines_of(here / "out.jsonl")
    assert "2 of 2 rows done, 0 failed" in batch(*args, "--force").stderr
    assert sorted(texts_of(here / "out.jsonl")) == ["1", "2"]
    assert all(line not in first for line in lines_of(here / "out.jsonl"))


def test_an_interrupted_change_loses_no_old_line(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "a", "b", "c")
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    before = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert batch("generate", "rows.jsonl", *OUT, "--seed", 3, "--limit", 1).status == 0
    after = {line["id"]: line for line in lines_of(here / "out.jsonl")}
    assert after["1"] != before["1"]
    assert (after["2"], after["3"]) == (before["2"], before["3"])
    result = batch("generate", "rows.jsonl", *OUT)
    assert "3 of 3 rows done, 2 of them in earlier" in result.stderr


# --- the file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [NativeFormat(), OpenAIFormat()])
@pytest.mark.parametrize("zeros", [0, 1, 5000])
def test_a_last_line_torn_anywhere(
    tmp_path: Path, lines: Any, zeros: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of files
    path = tmp_path / "out.jsonl"
    items = [item("1", "a" * 32), item("2", "b" * 32)]
    with_all = open_results(path, lines)
    for each in items:
        with_all.add(record(each.row.id, each.key))
    with_all.close()
    whole = path.read_bytes()
    ends = [0, whole.index(b"\n") + 1, len(whole)]
    for cut in range(len(whole) + (1 if zeros else 0)):
        path.write_bytes(whole[:cut] + b"\0" * zeros)
        results = open_results(path, lines)
        matched = plan_of(results, items)
        kept = max(end for end in ends if end <= cut)
        assert path.read_bytes() == whole[:kept]
        assert len(matched.done) == ends.index(kept)
        for todo in matched.todo:
            results.add(record(todo.row.id, todo.key))
        results.finish(items, ordered=False)
        results.close()
        assert [(lines.decode(line) or {})["id"] for line in lines_of(path)] == ["1", "2"]
    # What was written out of order: the beginning is missing, the end is there.
    path.write_bytes(whole[: ends[1]] + b"\0" * 20 + whole[ends[1] + 20 :])
    open_results(path, lines).close()
    assert path.read_bytes() == whole[: ends[1]]


def test_a_torn_line_is_told_and_its_row_done_again(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "a", "b")
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    (here / "out.jsonl").write_bytes((here / "out.jsonl").read_bytes()[:-9])
    result = batch("generate", "rows.jsonl", *OUT)
    assert result.status == 0
    assert "was incomplete" in result.stderr
    assert "2 of 2 rows done, 1 of them in earlier" in result.stderr


FOREIGN = {
    "notes": b"some notes\nof mine",
    "a line": b"a,b\n",
    "no newline": b"x",
    "table": b"a,b\n1,2\n3,",
    "an object": b'{"id": "1", "text": "x"}',
    "objects": b'{"id": "1", "text": "x"}\n{"id": "2", "te',
    "pretty": b'{\n "id": 1\n}\n',
    "a list": b"[1]\n",
    "a number": b"1",
    "binary": bytes(range(256)) * 10,
    "of OpenAI": b'{"id": "batch_req_123", "custom_id": "a", "response": {}, "error": null}\n',
    "empty lines": b"\n\n",
    "ours and more": b'{"id": "1", "error": null, "key": "k"}\nhello\n{"id": "2"',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    for lines in (NativeFormat(), OpenAIFormat()):
        with pytest.raises(UsageError, match=r"is not a batch result in this format"):
            open_results(path, lines)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_file_or_format_is_refused(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "a")
    result = batch("generate", "rows.jsonl", "-o", "other.jsonl")
    (here / "other.jsonl").rename(here / "own.jsonl")
    for more in (("-o", "own.jsonl", "--format", "openai"), ("-o", "notes.txt")):
        (here / "notes.txt").write_text("my notes")
        before = {path: path.read_bytes() for path in here.iterdir()}
        result = batch("generate", "rows.jsonl", *more)
        assert result.status == 2
        assert "line 1 of" in result.stderr
        assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_two_runs_on_one_file(batch: Batch, here: Path, start: Callable[..., Any]) -> None:
    write_rows(here / "rows.jsonl", "a")
    with (here / "out.jsonl").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = batch("generate", "rows.jsonl", *OUT)
        assert result.status == 2
        assert "another run is writing to" in result.stderr
        assert batch("generate", "rows.jsonl", *OUT, "--dry-run").status == 0
    runs = [start("generate", "rows.jsonl", *OUT) for _ in range(4)]
    ends = {run.wait(120): run.communicate()[1] for run in runs}
    assert 0 in ends
    assert set(ends) <= {0, 2}
    assert len(lines_of(here / "out.jsonl")) == 1


def test_the_lock_is_on_the_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    results.add(record("1", "k1"))
    results.add(record("1", "k2"))
    results.finish([item("1", "k2")], ordered=False)  # another file is there now
    open_results(path).close()
    assert identities(path) == [("1", "k2")]
    results.close()


def test_what_a_killed_run_left_is_cleaned_up(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    results._temporary.write_bytes(b"half a file")
    results.add(record("1", "k1"))
    results.close()
    open_results(path).close()
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_keeps_its_place_and_permissions(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.jsonl").write_bytes(b"")
    (tmp_path / "real" / "out.jsonl").chmod(0o600)
    (tmp_path / "out.jsonl").symlink_to("real/out.jsonl")
    results = open_results(tmp_path / "out.jsonl")
    for key in ("k1", "k2"):
        results.add(record("1", key))
    results.finish([item("1", "k2")], ordered=False)
    assert (tmp_path / "out.jsonl").is_symlink()
    assert identities(tmp_path / "real" / "out.jsonl") == [("1", "k2")]
    assert (tmp_path / "real" / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_taken_away_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    results.add(record("1", "k1"))
    path.unlink()
    results.finish([item("1", "k1")], ordered=False)
    assert identities(path) == [("1", "k1")]
    other = open_results(tmp_path / "b.jsonl")
    other.add(record("1", "k1"))
    path.rename(tmp_path / "b.jsonl")
    with pytest.raises(UsageError, match="was replaced while the batch was running"):
        other.finish([item("1", "k1")], ordered=False)


def test_lone_surrogates_are_escaped(tmp_path: Path) -> None:
    results = open_results(tmp_path / "out.jsonl")
    results.add(record("\ud800", "k", text='a \udfff "quoted" \\ud800'))
    (line,) = lines_of(tmp_path / "out.jsonl")
    assert (line["id"], line["text"]) == ("\ud800", 'a \udfff "quoted" \\ud800')
    assert identities(tmp_path / "out.jsonl") == [("\ud800", "k")]


# --- which line is whose -----------------------------------------------------------------------


def tidy(tmp_path: Path, lines: list[dict[str, Any]], items: list[Item], **more: Any) -> Any:
    path = tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = open_results(path)
    matched = plan_of(results, items)
    results.finish(items, ordered=more.get("ordered", False))
    results.close()
    done = {each.row.id for each in matched.done}
    return done, {each.row.id for each in matched.failed}, identities(path)


FAILED = {"code": 9, "message": "no", "hint": ""}


def test_each_takes_its_own_result_first(tmp_path: Path) -> None:
    """The first of two equal rows has none yet: it does not take the other's."""
    assert tidy(tmp_path, [record("2", "k")], [item("1", "k"), item("2", "k")]) == (
        {"2"},
        set(),
        [("2", "k")],
    )


def test_the_last_of_several_results_counts(tmp_path: Path) -> None:
    """As after a kill before the old ones were taken out."""
    lines = [record("1", "k", error=FAILED), record("1", "k"), record("x", "k", error=FAILED)]
    assert tidy(tmp_path, lines, [item("1", "k")]) == ({"1"}, set(), [("1", "k")])
    lines = [record("1", "k"), record("1", "k", error=FAILED)]
    assert tidy(tmp_path, lines, [item("1", "k")]) == (set(), {"1"}, [("1", "k")])
    lines = [record("1", "old"), record("1", "k"), record("gone", "a"), record("gone", "a")]
    assert tidy(tmp_path, lines, [item("1", "k")])[2] == [("1", "k"), ("gone", "a")]


def test_exchanged_names(tmp_path: Path) -> None:
    lines = [record("1", "a"), record("2", "b"), record("3", "c")]
    items = [item("1", "b"), item("2", "a"), item("4", "c"), item("3", "new")]
    done, _, found = tidy(tmp_path, lines, items)
    assert done == {"1", "2", "4"}
    assert found == [("2", "a"), ("1", "b"), ("4", "c")]
    assert tidy(tmp_path, lines, items, ordered=True)[2] == [("1", "b"), ("2", "a"), ("4", "c")]


def test_ten_thousand_rows_take_no_time(tmp_path: Path) -> None:
    """Also where all are the same, and where none is where it was: nothing is quadratic."""
    count = 10_000
    lines = [record(str(number), "k", text="x") for number in range(count)]
    items = [item(str(number), "k") for number in range(1, count + 1)]
    began = time.process_time()
    done, _, found = tidy(tmp_path, lines, items, ordered=True)
    assert time.process_time() - began < 20  # quadratic: minutes
    assert len(done) == len(found) == count


def test_a_full_disk_leaves_what_is_there(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    results.add(record("1", "k1"))
    before = path.read_bytes()

    def full(descriptor: int, data: bytes, start: int) -> int:
        if len(data) > 10:
            return write(descriptor, bytes(data[:10]), start)  # as much as there is room
        raise OSError(28, "No space left on device")

    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Exception, match="No space left") as caught:
        results.add(record("2", "k2"))
    monkeypatch.undo()
    assert "continues where it stopped" in caught.value.hint  # type: ignore[attr-defined]
    assert path.read_bytes() == before
    results.add(record("2", "k2"))
    results.close()
    assert identities(path) == [("1", "k1"), ("2", "k2")]
