"""A results file: incomplete lines, locks, files of other programs, full disks."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import OURS, Batch, Start, lines_of, texts_of, write_rows
from support.batch_records import (
    add,
    finish,
    identities,
    open_results,
    plan_of,
    stored_record,
    work_item,
)

from mistral_cli.batch.formats import NativeFormat, OpenAIFormat
from mistral_cli.batch.resume import RowStatus
from mistral_cli.errors import UsageError

OUT = ("-o", "out.jsonl")


@pytest.mark.parametrize("lines", [NativeFormat(), OpenAIFormat()])
@pytest.mark.parametrize("zeros", [0, 1, 5000])
def test_a_last_line_cut_at_any_byte_is_removed(
    tmp_path: Path, lines: Any, zeros: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # too slow for hundreds of files
    path = tmp_path / "out.jsonl"
    items = [work_item("1", "a" * 32), work_item("2", "b" * 32)]
    with_all = open_results(path, lines)
    add(with_all, *(stored_record(each.row.id, each.key) for each in items))
    with_all.close()
    whole = path.read_bytes()
    ends = [0, whole.index(b"\n") + 1, len(whole)]
    for cut in range(len(whole) + (1 if zeros else 0)):
        path.write_bytes(whole[:cut] + b"\0" * zeros)
        results = open_results(path, lines)
        plan = plan_of(results, items)
        kept = max(end for end in ends if end <= cut)
        assert path.read_bytes() == whole[:kept]
        assert len(plan[RowStatus.DONE]) == ends.index(kept)
        add(results, *(stored_record(each.row.id, each.key) for each in plan[RowStatus.TO_DO]))
        finish(results)
        results.close()
        assert [(lines.decode(line) or {})["id"] for line in lines_of(path)] == ["1", "2"]
    # The disk wrote out of order: the start of the line is missing, its end is not.
    path.write_bytes(whole[: ends[1]] + b"\0" * 20 + whole[ends[1] + 20 :])
    open_results(path, lines).close()
    assert path.read_bytes() == whole[: ends[1]]


def test_the_row_of_an_incomplete_line_is_processed_again(batch: Batch, here: Path) -> None:
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
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_that_is_not_results_is_refused_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    for lines in (NativeFormat(), OpenAIFormat()):
        with pytest.raises(UsageError, match=r"is not a batch result in this format"):
            open_results(path, lines)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_other_format_is_refused_unchanged(batch: Batch, here: Path) -> None:
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


def test_two_runs_do_not_share_a_file(batch: Batch, here: Path, start: Callable[..., Any]) -> None:
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


def test_the_replaced_file_can_be_opened_while_the_old_one_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    plan_of(results, [work_item("1", "k2")])
    add(results, stored_record("1", "k1"))
    results.close()
    results = open_results(path)
    plan_of(results, [work_item("1", "k2")])
    add(results, stored_record("1", "k2"))
    finish(results)  # this replaces the file
    open_results(path).close()
    assert identities(path) == [("1", "k2")]
    results.close()


def test_the_temporary_file_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    results._temporary.write_bytes(b"half a file")
    add(results, stored_record("1", "k1"))
    results.close()
    open_results(path).close()
    assert list(tmp_path.iterdir()) == [path]


def test_a_rewritten_file_keeps_its_link_and_permissions(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.jsonl").write_bytes(b"")
    (tmp_path / "real" / "out.jsonl").chmod(0o600)
    (tmp_path / "out.jsonl").symlink_to("real/out.jsonl")
    results = open_results(tmp_path / "out.jsonl")
    add(results, stored_record("1", "k1"))
    results.close()
    results = open_results(tmp_path / "out.jsonl")
    add(results, stored_record("1", "k2"))
    finish(results)
    assert (tmp_path / "out.jsonl").is_symlink()
    assert identities(tmp_path / "real" / "out.jsonl") == [("1", "k2")]
    assert (tmp_path / "real" / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_deleted_file_is_written_again_and_a_replaced_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    add(results, stored_record("1", "k1"))
    path.unlink()
    finish(results)
    assert identities(path) == [("1", "k1")]
    other = open_results(tmp_path / "b.jsonl")
    add(other, stored_record("1", "k1"))
    path.rename(tmp_path / "b.jsonl")
    with pytest.raises(UsageError, match="was replaced while the batch was running"):
        finish(other)


def test_lone_surrogates_are_escaped(tmp_path: Path) -> None:
    results = open_results(tmp_path / "out.jsonl")
    add(results, stored_record("\ud800", "k", text='a \udfff "quoted" \\ud800'))
    (line,) = lines_of(tmp_path / "out.jsonl")
    assert (line["id"], line["text"]) == ("\ud800", 'a \udfff "quoted" \\ud800')
    assert identities(tmp_path / "out.jsonl") == [("\ud800", "k")]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "out.jsonl"
    results = open_results(path)
    add(results, stored_record("1", "k1"))
    before = path.read_bytes()

    def full(descriptor: int, data: bytes, start: int) -> int:
        if len(data) > 10:
            return write(descriptor, bytes(data[:10]), start)  # the space that is left
        raise OSError(28, "No space left on device")

    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Exception, match="No space left") as caught:
        add(results, stored_record("2", "k2"))
    monkeypatch.undo()
    assert "continues where it stopped" in caught.value.hint  # type: ignore[attr-defined]
    assert path.read_bytes() == before
    add(results, stored_record("2", "k2"))
    results.close()
    assert identities(path) == [("1", "k1"), ("2", "k2")]


def test_a_file_size_limit_loses_no_row(start: Start, batch: Batch, here: Path) -> None:
    """The file is already so large that the limit leaves room for a few rows only."""
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(30)))
    old = {"id": "gone", "source": "", "text": "x" * 1_988_000, "error": None, "key": "k"}
    (here / "out.jsonl").write_text(json.dumps(old) + "\n")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    running = start("generate", "rows.jsonl", *OUT, preexec_fn=limited)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 1, stderr
    assert "out.jsonl: File too large" in stderr
    assert "continues where it stopped" in stderr
    there = lines_of(here / "out.jsonl")
    assert 5 < len(there) < 31
    assert f"{len(there) - 1} of 30 rows done, 0 failed" in stderr
    assert batch("generate", "rows.jsonl", *OUT).status == 0
    assert len(texts_of(here / "out.jsonl")) == 31
    assert lines_of(here / "out.jsonl")[: len(there)] == there


FULL = """
    mkdir disk kept kept2 && mount -t tmpfs -o size=400k none disk || exit 77
    head -c $ROOM /dev/zero >disk/filler
    "$@" ; echo "status $?" ; ls -A disk
    cp -r disk/. kept/ ; rm disk/filler
    "$@" ; echo "status $?"
    cp -r disk/. kept2/
"""


@pytest.mark.parametrize(
    ("to", "name", "room"),
    [("-o disk/o.jsonl", "o.jsonl", 388), ("--output-dir disk", ".mistral-cli-batch.jsonl", 340)],
)
def test_a_full_disk_loses_no_row(here: Path, mistral: Path, to: str, name: str, room: int) -> None:
    (here / "texts").mkdir()
    for number in range(40):
        (here / "texts" / f"{number}.txt").write_text(f"the row {number}")
    ours = [*OURS, "generate", "texts", *to.split(), "--engine", "fake", "-m", str(mistral)]
    command = [shutil.which("unshare") or "false", "-rm", "sh", "-c", FULL, "sh", *ours]
    environment = {**os.environ, "ROOM": f"{room}k"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    if result.returncode == 77 or "status" not in result.stdout:
        pytest.skip("no file system can be mounted here")
    assert result.stdout.count("status 1") == result.stdout.count("status 0") == 1, result
    assert "No space left on device" in result.stderr
    assert ".tmp" not in result.stdout
    before, after = lines_of(here / "kept" / name), lines_of(here / "kept2" / name)
    assert 0 < len(before) < 40 == len(after)
    assert [line for line in before if line not in after] == []
    if name != "o.jsonl":
        for number in range(40):
            assert (here / "kept2" / f"{number}.txt").read_text() == f"the row {number}\n"
