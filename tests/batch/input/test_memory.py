"""What reading takes does not grow with the input."""

from __future__ import annotations

import gzip
import json
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.terminals import make_terminal

from mistral_cli.batch.input.rows import read_rows
from mistral_cli.batch.options import InputFormat

ROWS = 40_000
MOST = 12 * 2**20  # bytes; a block of 1 MiB, as bytes and as text, and its lines


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def texts() -> Iterator[str]:
    return (f"{number} {'word ' * 250}".strip() for number in range(ROWS))


def peak(name: str, **options: object) -> int:
    """Read all rows; return the bytes that Python held at most meanwhile."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_rows([name], make_terminal(), **options))  # type: ignore[arg-type]
        return tracemalloc.get_traced_memory()[1]
    finally:
        assert count == ROWS
        tracemalloc.stop()


def test_a_file_of_50_mb_is_read_in_blocks() -> None:
    with Path("a.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts())
    assert Path("a.jsonl").stat().st_size > 50_000_000
    assert peak("a.jsonl") < MOST


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.jsonl.gz", "a.db", "a.parquet"])
def test_other_inputs_are_read_in_parts(name: str) -> None:
    options: dict[str, object] = {}
    if name.endswith(".gz"):
        lines = (json.dumps({"text": text}) + "\n" for text in texts())
        with gzip.open(name, "wt", compresslevel=1) as file:
            file.writelines(lines)
    elif name.endswith(".db"):
        options = {"query": "select text from rows"}
        with closing(sqlite3.connect(name)) as database, database:
            database.execute("create table rows (text)")
            database.executemany("insert into rows values (?)", ((text,) for text in texts()))
    elif name.endswith(".parquet"):
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.table({"text": [*texts()]}), name)
    else:
        options = {"input_format": InputFormat.LINES} if name.endswith(".txt") else {}
        header = "text\n" if name.endswith(".csv") else ""
        Path(name).write_text(header + "\n".join(texts()))
    assert peak(name, **options) < MOST
