"""Rows from pipes: each is there when its line has arrived, and nothing waits for the end."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import wait_for
from support.terminals import make_terminal

from mistral_cli.batch.input.live import ReadAhead
from mistral_cli.batch.input.rows import InputRows, Row, read_rows
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import UsageError


class Pipe:
    """A pipe that a test writes to, with the rows that are read from it."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self._stdin = io.TextIOWrapper(os.fdopen(reader, "rb"))
        self.terminal = make_terminal(self._stdin)

    def write(self, data: str | bytes) -> None:
        os.write(self._writer, data if isinstance(data, bytes) else data.encode())

    def end(self) -> None:
        os.close(self._writer)

    def rows(self, **options: object) -> InputRows:
        return read_rows(["-"], self.terminal, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("input_format", "start", "line", "text"),
    [
        (None, "", "a line\n", "a line"),
        (None, "", "Grüße\n", "Grüße"),
        (InputFormat.LINES, "", "dos\r\n", "dos"),
        (InputFormat.JSONL, "", '{"text": "object"}\n', "object"),
        (InputFormat.CSV, "id;text\n", '7;"a ""cell"""\n', 'a "cell"'),
        (InputFormat.CSV, "text\n", '"two\nlines"\n', "two\nlines"),
    ],
)
def test_a_row_is_there_when_its_line_has_arrived(
    input_format: InputFormat | None, start: str, line: str, text: str
) -> None:
    pipe = Pipe()
    pipe.write(start + line)
    rows = pipe.rows(input_format=input_format)
    iterator = iter(rows)
    assert next(iterator).text == text
    assert not rows.is_ready()
    half = len(line) // 2
    pipe.write(line.replace("7", "8")[:half])
    assert not rows.is_ready()
    pipe.write(line.replace("7", "8")[half:])
    wait_for(rows.is_ready)
    assert next(iterator).text == text
    pipe.end()
    wait_for(rows.is_ready)
    assert next(iterator, None) is None
    assert rows.fraction is None


def test_a_pipe_with_another_encoding_is_read_as_it_comes() -> None:
    for encoding in ("utf-16", "utf-16-le", "cp1252"):
        pipe = Pipe()
        # The reader gets the first part without the end of a character.
        data = "Grüße aus der Müllerstraße\nschöne Tage\n".encode(encoding)
        pipe.write(data[:-3])
        iterator = iter(pipe.rows())
        assert next(iterator).text == "Grüße aus der Müllerstraße"
        pipe.write(data[-3:])
        assert next(iterator).text == "schöne Tage"
        pipe.end()
        assert next(iterator, None) is None


def test_an_encoding_is_guessed_when_it_shows() -> None:
    pipe = Pipe()
    pipe.write("plain\n")
    iterator = iter(pipe.rows())
    assert next(iterator).warnings == ()
    pipe.write("Grüße aus der Müllerstraße\n".encode("cp1252"))
    later = next(iterator)
    assert later.text == "Grüße aus der Müllerstraße"
    assert [*later.warnings] == pipe.terminal.warnings
    assert "read as cp1252" in later.warnings[0]


def test_a_named_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    os.mkfifo(path)
    go = threading.Event()

    def write() -> None:
        with path.open("w") as file:
            file.write('{"text": "one"}\n')
            file.flush()
            go.wait(60)
            file.write('{"text": "two"}\n')

    threading.Thread(target=write).start()
    rows = read_rows([str(path)], make_terminal())
    iterator = iter(rows)
    assert next(iterator).text == "one"
    assert not rows.is_ready()
    go.set()
    assert next(iterator).text == "two"


def test_a_file_is_always_ready(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one"}\n' * 100_000)
    rows = read_rows([str(path)], make_terminal())
    assert (rows.is_live, rows.is_ready()) == (False, True)
    fractions = [rows.fraction or 0 for _ in rows]
    assert fractions == sorted(fractions)
    assert fractions[0] < 1 == fractions[-1]


def test_an_error_comes_after_the_rows_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise UsageError("wrong", hint="Do it right.")

    ahead = ReadAhead(items(), lambda _: 1)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UsageError, match="wrong"):
        next(ahead)
    assert next(ahead, None) is None


def test_only_so_much_is_read_ahead() -> None:
    taken = []

    def items() -> Iterator[Row]:
        for number in range(100):
            taken.append(number)
            yield Row(str(number), "stdin", "x" * 2**20)

    ahead = ReadAhead(items(), lambda row: len(row.text))
    wait_for(lambda: len(taken) >= 4)
    assert len([*ahead]) == 100
    assert len(taken) == 100
    ahead = ReadAhead(items(), lambda row: len(row.text))
    wait_for(lambda: len(taken) >= 104)
    assert len(taken) <= 106
