"""Inputs of all kinds, with the whole program."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from support.batch_program import OURS, Batch, texts_of


def test_a_pipe_that_never_ends_is_answered_row_by_row(here: Path, mistral: Path) -> None:
    """Like `tail -f`: each answer comes before the next row is written."""
    command = [*OURS, "generate", "-", "--engine", "fake", "-m", str(mistral), "-q"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin
        assert running.stdout
        for number in range(5):
            running.stdin.write(f"the row {number}\n".encode())
            running.stdin.flush()
            answer = json.loads(running.stdout.readline())
            assert (answer["id"], answer["text"]) == (f"stdin:{number + 1}", f"the row {number}")
        running.stdin.close()
        assert running.stdout.read() == b""
        assert running.wait(60) == 0


def test_a_cut_archive_keeps_its_answers(batch: Batch, here: Path) -> None:
    lines = "".join(
        json.dumps({"id": f"r{number}", "text": os.urandom(60).hex()}) + "\n"
        for number in range(600)
    )
    whole = gzip.compress(lines.encode())
    (here / "rows.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    result = batch("generate", "rows.jsonl.gz", "-o", "out.jsonl")
    assert result.status == 10
    before = len(texts_of(here / "out.jsonl")) - 1
    assert 0 < before < 600
    error = texts_of(here / "out.jsonl")["rows.jsonl.gz"]
    assert error.startswith("rows.jsonl.gz ends in the middle of its gzip data; rows that came")
    assert error.endswith(f"before: {before}")
    (here / "rows.jsonl.gz").write_bytes(whole)
    result = batch("generate", "rows.jsonl.gz", "-o", "out.jsonl")
    assert result.status == 0
    assert f"600 of 600 rows done, {before} of them in earlier runs" in result.stderr


def test_a_query_has_its_rows_answered(batch: Batch, here: Path) -> None:
    with closing(sqlite3.connect("mail.db")) as database, database:
        database.execute("create table mail (id, body, sender)")
        database.execute("insert into mail values (7, 'the lift is broken', 'Ada')")
    query = ("--from-sql", "select id, body as text, sender from mail")
    prompt = ("--prompt", "{sender} writes: {text}")
    result = batch("generate", "mail.db", *query, *prompt, "-o", "out.csv")
    assert result.status == 0
    assert "7,the lift is broken,Ada," in (here / "out.csv").read_text()
    result = batch("generate", "mail.db", "--from-sql", "drop table mail", "-o", "out.csv")
    assert result.status == 2
    assert "--from-sql on mail.db: not authorized" in result.stderr


def test_options_that_do_not_go_together(batch: Batch, here: Path) -> None:
    result = batch("generate", "--from-sql", "select 1", stdin="row\n")
    assert result.status == 2
    assert "--from-sql cannot read stdin" in result.stderr
