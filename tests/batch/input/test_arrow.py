"""Rows of Parquet and Arrow files."""

from __future__ import annotations

import datetime
import decimal
import sys
from pathlib import Path
from typing import Any

import pytest
from support.terminals import make_terminal

from mistral_cli.batch.input.rows import Row, read_rows
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import UsageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NAMES = ["a.parquet", "a.arrow", "a.feather", "s.arrow"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, table: Any) -> str:
    if name.endswith(".parquet"):
        pq.write_table(table, name, row_group_size=1500)
        return name
    new = pa.ipc.new_stream if name.startswith("s") else pa.ipc.new_file
    with pa.OSFile(name, "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=1500)
    return name


def rows(name: str, **options: Any) -> list[Row]:
    return list(read_rows([name], make_terminal(), **options))


@pytest.mark.parametrize("name", NAMES)
def test_values_are_fields_as_text(name: str) -> None:
    table = pa.table(
        {
            "id": pa.array([7, 8, None]),
            "text": pa.array(["one", None, "three"]),
            "tag": pa.array(["x", "y", "x"]).dictionary_encode(),
            "flag": [True, None, False],
            "part": [1.5, 2.0, None],
            "day": [datetime.date(2026, 11, 30), None, None],
            "price": [decimal.Decimal("1.50"), None, None],
            "list": [[1, 2], [], None],
            "object": [{"a": "ü"}, None, {"a": None}],
            "bytes": [b"text", b"\xff", None],
        }
    )
    first, empty, last = rows(write(name, table))
    assert first == Row(
        "7",
        f"{name}:1",
        "one",
        {
            "id": "7",
            "text": "one",
            "tag": "x",
            "flag": "true",
            "part": "1.5",
            "day": "2026-11-30",
            "price": "1.50",
            "list": "[1, 2]",
            "object": '{"a": "ü"}',
            "bytes": "text",
        },
    )
    assert empty.error is not None
    assert (empty.id, empty.error.message) == ("8", f"{name}:2 is empty")
    assert empty.columns["bytes"] == ""
    assert (last.id, last.text, last.columns["flag"]) == (f"{name}:3", "three", "false")


@pytest.mark.parametrize("name", NAMES)
def test_rows_come_in_order_across_row_groups(name: str) -> None:
    texts = [f"text {number}" for number in range(5000)]
    found = rows(write(name, pa.table({"body": texts})), text_field="body")
    assert [row.text for row in found] == texts
    assert [row.id for row in found] == [f"{name}:{number}" for number in range(1, 5001)]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_column_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} has no column 'text'; it has 'body'"):
        rows(write(name, pa.table({"body": ["a"]})))


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_the_error_of_its_row(name: str) -> None:
    write(name, pa.table({"text": ["word " * 20] * 5000}))
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: len(data) // 2])
    *_, bad = rows(name)
    assert bad.error is not None
    assert bad.error.message.startswith(f"{name} cannot be read: ")
    assert bad.path == Path(name)


def test_a_format_can_be_named_but_not_for_stdin() -> None:
    write("a.parquet", pa.table({"text": ["one"]}))
    Path("a.parquet").rename("part-0")
    assert [row.text for row in rows("part-0", input_format=InputFormat.PARQUET)] == ["one"]
    with pytest.raises(UsageError, match="stdin cannot be Parquet"):
        rows("-", input_format=InputFormat.PARQUET)


def test_a_missing_library_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.parquet", pa.table({"text": ["one"]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"a\.parquet needs the package pyarrow") as error:
        rows("a.parquet")
    assert "mistral-cli[parquet]" in error.value.hint
