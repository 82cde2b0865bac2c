"""Rows of SQLite databases."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support.terminals import make_terminal

from mistral_cli.batch.input.rows import Row, read_rows
from mistral_cli.errors import UsageError


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("a.db")) as connection, connection:
        connection.execute("create table mail (id integer, body text, size real, raw blob)")
        connection.executemany(
            "insert into mail values (?, ?, ?, ?)",
            [(7, "one", 1.5, b"text"), (8, "two", None, b"\xff"), (9, None, 2, None)],
        )
    return tmp_path / "a.db"


def rows(query: str, *names: str, **options: str) -> list[Row]:
    return list(read_rows(names or ("a.db",), make_terminal(), query=query, **options))


def test_columns_are_fields() -> None:
    first, second, third = rows("select * from mail order by id", text_field="body")
    assert first == Row(
        "7", "a.db:1", "one", {"id": "7", "body": "one", "size": "1.5", "raw": "text"}
    )
    assert (second.columns["size"], second.columns["raw"]) == ("", "")
    assert third.error is not None
    assert (third.id, third.error.message) == ("9", "a.db:3 is empty")
    query = "with m as (select body as text from mail where id < 9) select * from m"
    assert [row.id for row in rows(query)] == ["a.db:1", "a.db:2"]


def test_every_input_is_a_database() -> None:
    Path("b.db").write_bytes(Path("a.db").read_bytes())
    query = "select body from mail where id = 7"
    assert [row.id for row in rows(query, "a.db", "b.db", text_field="body")] == [
        "a.db:1",
        "b.db:1",
    ]


def test_json_and_full_text_search() -> None:
    with closing(sqlite3.connect("a.db")) as connection, connection:
        connection.execute("create virtual table found using fts5(text)")
        connection.execute("insert into found values ('one word'), ('two words')")
    query = 'select value as text from json_each(\'["a", "b"]\')'
    assert [row.text for row in rows(query)] == ["a", "b"]
    assert [row.text for row in rows("select text from found('word')")] == ["one word"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("delete from mail", "--from-sql on a.db: not authorized"),
        ("with m as (select 1) delete from mail", "--from-sql on a.db: not authorized"),
        ("attach 'other.db' as o", "--from-sql on a.db: not authorized"),
        ("pragma user_version = 3", "--from-sql on a.db: not authorized"),
        ("update sqlite_master set sql = ''", "--from-sql on a.db: table sqlite_master may not be"),
        ("select 1; select 2", "--from-sql on a.db: You can only execute one statement at a time"),
        ("select body from male", "--from-sql on a.db: no such table: male"),
        ("selec", '--from-sql on a.db: near "selec": syntax error'),
        ("select id, id from mail", "--from-sql names the column 'id' twice"),
        ("select id from mail", "a.db has no column 'text'; it has 'id'"),
        ("select body as text from mail where id > 9", "there are no rows"),
    ],
)
def test_what_is_wrong_with_a_query_is_said_at_once(query: str, message: str) -> None:
    before = Path("a.db").read_bytes()
    with pytest.raises(UsageError) as error:
        rows(query)
    assert error.value.message.startswith(message)
    assert error.value.hint
    assert Path("a.db").read_bytes() == before
    assert not Path("other.db").exists()


@pytest.mark.parametrize("name", ["b.db", "-"])
def test_an_input_must_be_a_database(name: str) -> None:
    Path("b.db").write_text("no database " * 100)
    with pytest.raises(UsageError, match=r"file is not a database|cannot read stdin"):
        rows("select text from mail", name)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_another_program_may_write_meanwhile(mode: str) -> None:
    with closing(sqlite3.connect("a.db", timeout=0)) as writer:
        writer.execute(f"pragma journal_mode = {mode}")
        found = read_rows(["a.db"], make_terminal(), query="select id as text from mail")
        iterator = iter(found)
        assert next(iterator).text == "7"
        with writer:
            writer.execute("update mail set id = id + 10")
        assert [row.text for row in iterator] == ["8", "9"]  # as they were when the batch began


def test_a_locked_database(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect("a.db", isolation_level=None)) as writer:
        writer.execute("begin exclusive")
        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
        with pytest.raises(UsageError, match="database is locked") as caught:
            rows("select id as text from mail")
    assert "no other program" in str(caught.value.hint)
