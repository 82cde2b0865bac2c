"""Compressed files of rows."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest
from backports import zstd
from support.terminals import make_terminal

from mistral_cli.batch.input.rows import Row, read_rows

FORMATS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd.compress}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(*names: str, stdin: bytes | None = None) -> list[Row]:
    return list(read_rows(names, make_terminal(stdin)))


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_suffix_before_tells_how_it_is_read(suffix: str) -> None:
    contents = {
        "a.jsonl": '{"text": "one"}\n{"text": "two"}\n',
        "b.csv": "text\none\ntwo\n",
        "c.tsv": "text\tn\none, or\t1\n",
        "d.txt": "one\ntwo\n",
    }
    for name, content in contents.items():
        Path(f"{name}{suffix}").write_bytes(FORMATS[suffix](content.encode()))
    found = [(row.source, row.text) for row in rows(".")]
    assert found == [
        (f"a.jsonl{suffix}:1", "one"),
        (f"a.jsonl{suffix}:2", "two"),
        (f"b.csv{suffix}:2", "one"),
        (f"b.csv{suffix}:3", "two"),
        (f"c.tsv{suffix}:2", "one, or"),
        (f"d.txt{suffix}", "one\ntwo"),
    ]
    piped = rows("-", stdin=FORMATS[suffix](b"one\ntwo\n"))
    assert [row.text for row in piped] == ["one", "two"]


def test_a_file_that_only_has_the_name_is_read_as_it_is() -> None:
    Path("a.jsonl.gz").write_text('{"text": "one"}\n')
    assert [row.text for row in rows("a.jsonl.gz")] == ["one"]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_cut_file_keeps_the_rows_before(suffix: str) -> None:
    lines = "".join(
        json.dumps({"id": f"r{number}", "text": f"{number * 7919 % 104729:x}" * 9}) + "\n"
        for number in range(60_000)
    )
    name = f"a.jsonl{suffix}"
    data = FORMATS[suffix](lines.encode())
    Path(name).write_bytes(data[: len(data) // 2])
    *good, bad = rows(name)
    assert len(good) > 10_000
    assert [row.id for row in good] == [f"r{number}" for number in range(len(good))]
    assert all(row.error is None for row in good)
    assert bad.error is not None
    assert bad.id == bad.source == name
    assert bad.error.message.startswith(f"{name} ends in the middle of its ")
    assert f"; rows that came before: {len(good):,}" in bad.error.message


def test_a_cut_file_does_not_stop_the_others() -> None:
    Path("a.txt.gz").write_bytes(gzip.compress(b"one")[:-4])
    Path("b.txt").write_text("two")
    bad, good = rows("a.txt.gz", "b.txt")
    assert bad.error is not None
    assert (bad.path, good.text) == (Path("a.txt.gz"), "two")


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "') + gzip.compress(b" " * 2**20) * 80)
    [row] = rows("a.jsonl.gz")
    assert row.error is not None
    assert row.error.message == "a.jsonl.gz:1 has more than 64 million characters"
