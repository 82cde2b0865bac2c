from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.documents import pdf
from support.terminals import TerminalStream, make_terminal

from mistral_cli.batch.input.rows import Row, check_unique, read_rows
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import UsageError


def rows(*names: object, stdin: bytes | None = None, **options: Any) -> list[Row]:
    return list(read_rows([str(name) for name in names], make_terminal(stdin), **options))


def row(*names: object, **options: Any) -> Row:
    [only] = rows(*names, **options)
    return only


def problem(row: Row) -> str:
    assert row.error is not None
    assert row.error.hint
    assert row.text == ""
    return row.error.message


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, content: str | bytes) -> str:
    data = content if isinstance(content, bytes) else content.encode()
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(data)
    return name


# Whole files


def test_a_file_is_a_row() -> None:
    write("src/a.txt", "one\r\ntwo\n")
    assert row("src/a.txt") == Row(
        "src/a.txt", "src/a.txt", "one\ntwo", path=Path("src/a.txt"), relative=Path("a.txt")
    )
    assert row("src/*.txt").relative == Path("a.txt")
    assert row(".").relative == Path("src/a.txt")


def test_a_document_is_a_row() -> None:
    pytest.importorskip("kreuzberg")
    write("a.pdf", pdf(["The harbour"]))
    assert row("a.pdf").text.strip() == "The harbour"
    assert row(stdin=pdf(["The harbour"])).text.strip() == "The harbour"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"GGUF\0\0", "a.txt is a model (GGUF), not text"),
        ("a.jsonl", b"GGUF\0\0", "a.jsonl is a model (GGUF), not text"),
        ("a.csv", b"GGUF\0\0", "a.csv is a model (GGUF), not text"),
        ("a.txt", b"", "a.txt is empty"),
        ("a.txt", b" \r\n\t", "a.txt is empty"),
        ("a.txt", b"\xff\xfe\0\0", "a.txt is empty"),
    ],
)
def test_a_bad_file_does_not_stop_the_others(name: str, content: bytes, message: str) -> None:
    write(name, content)
    write("good.txt", "good")
    bad, good = rows(name, "good.txt")
    assert problem(bad).startswith(message)
    assert (bad.id, bad.source, bad.path) == (name, name, Path(name))
    assert (good.text, good.error) == ("good", None)


def test_an_unreadable_file_is_a_row_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # chmod would not stop root

    write("a.txt", "text")
    monkeypatch.setattr(Path, "open", forbidden)
    assert problem(row("a.txt")) == "a.txt cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "{}\n"),
        ("a.jsonl", '{{"text": "{}"}}\n'),
        ("a.csv", "id,text\n1,{}\n"),
        ("-", "{}\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16"])
def test_a_row_says_how_its_file_was_decoded(name: str, content: str, encoding: str) -> None:
    text = "Grüße aus der Müllerstraße"
    data = content.format(text).encode(encoding)
    terminal = make_terminal(data if name == "-" else None)
    if name != "-":
        write(name, data)
    [parsed] = read_rows([name], terminal)
    assert parsed.text == text
    guessed = encoding != "utf-16"  # which has a byte order mark
    assert [*parsed.warnings] == terminal.warnings
    assert [f"read as {encoding}" in warning for warning in parsed.warnings] == [True] * guessed
    terminal = make_terminal(data if name == "-" else None)
    [parsed] = read_rows([name], terminal, encoding=encoding)
    assert (parsed.text, parsed.warnings, terminal.warnings) == (text, (), [])


def test_a_damaged_file_says_so_in_its_row() -> None:
    parsed = row(write("a.txt", "grün ".encode() + b"\xff"))
    assert (parsed.text, len(parsed.warnings)) == ("grün \ufffd", 1)


def test_a_name_that_is_not_utf8_can_be_printed() -> None:
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    Path(name).write_text("text")
    parsed = row("*.txt")
    assert (parsed.id, parsed.text, parsed.path) == ("caf\\xe9.txt", "text", Path(name))
    Path(name).write_bytes(b"\0")
    problem(row("*.txt")).encode()


# Lines


def test_stdin_lines_are_rows() -> None:
    expected = [Row("stdin:1", "stdin:1", "one"), Row("stdin:4", "stdin:4", " two")]
    for names in ((), ("-",)):
        assert rows(*names, stdin=b"one\r\n\n  \n two") == expected


def test_only_line_feeds_end_a_line() -> None:
    long = b"x" * 8192  # so that NUL comes late: early in a file it would make it binary
    parsed = rows(stdin=long + "\u2028b\x0cc\x85d\n\0\ne".encode())
    assert [one.text for one in parsed] == [long.decode() + "\u2028b\x0cc\x85d", "", "e"]
    assert problem(parsed[1]) == "stdin:2 is empty"


def test_input_format_applies_to_every_name() -> None:
    write("a.txt", "one\ntwo\n")
    assert [line.text for line in rows("a.txt", input_format=InputFormat.LINES)] == ["one", "two"]
    assert row(stdin=b"one\ntwo\n", input_format=InputFormat.TEXT) == Row(
        "stdin", "stdin", "one\ntwo"
    )
    assert row(stdin=b'{"text": "x", "id": 7}', input_format=InputFormat.JSONL).id == "7"
    parsed = rows("-", stdin=b"id,text\n1,x\n2,y\n", input_format=InputFormat.CSV)
    assert [(one.id, one.source, one.text) for one in parsed] == [
        ("1", "stdin:2", "x"),
        ("2", "stdin:3", "y"),
    ]
    write("b.jsonl", '{"text": "x"}\n')
    assert row("b.jsonl", input_format=InputFormat.TEXT).text == '{"text": "x"}'


# JSONL


def test_a_json_object_is_a_row() -> None:
    write("a.jsonl", '\ufeff{"id": "x", "text": "one", "n": 1.5, "ok": true, "none": null}\n\n')
    first = row("a.jsonl")
    columns = {"id": "x", "text": "one", "n": "1.5", "ok": "true", "none": ""}
    assert first == Row("x", "a.jsonl:1", "one", columns)
    assert first.fields == {"id": "x", "n": "1.5", "ok": "true", "none": ""}
    write("b.ndjson", '{"body": "one", "text": "other", "list": [1], "o": {}}')
    second = row("b.ndjson", text_field="body")
    assert second == Row("b.ndjson:1", "b.ndjson:1", "one", {"body": "one", "text": "other"})
    assert second.fields == {"body": "one"}


def test_numbers_become_text_and_an_id_is_optional() -> None:
    lines = [
        '{"text": 7, "id": 12345678901234567890}',
        '{"text": false, "id": ""}',
        '{"text": 0.5}',
    ]
    parsed = rows(write("a.jsonl", "\n".join([*lines, '{"text": "x", "id": null}'])))
    assert [(one.id, one.text) for one in parsed] == [
        ("12345678901234567890", "7"),
        ("a.jsonl:2", "false"),
        ("a.jsonl:3", "0.5"),
        ("a.jsonl:4", "x"),
    ]


@pytest.mark.parametrize(
    ("line", "message", "identity"),
    [
        ('{"text": "torn', "a.jsonl:2 is not JSON", "a.jsonl:2"),
        ("[1]", "a.jsonl:2 is not a JSON object", "a.jsonl:2"),
        ("[" * 100_000, "a.jsonl:2 is not JSON", "a.jsonl:2"),
        ('{"text": NaN}', "a.jsonl:2 is not JSON", "a.jsonl:2"),
        ('{"text": "\\ud800"}', "a.jsonl:2 is not JSON", "a.jsonl:2"),
        ('{"text": "a", "text": "b"}', "a.jsonl:2 is not JSON: the key 'text'", "a.jsonl:2"),
        ('{"id": 7, "body": "b"}', "a.jsonl:2 has no 'text'; it has 'id', 'body'", "7"),
        ('{"id": "x", "text": null}', "a.jsonl:2: 'text' is not a string", "x"),
        ('{"id": "x", "text": ["b"]}', "a.jsonl:2: 'text' is not a string", "x"),
        ('{"id": "x", "text": " \\n\\u0000"}', "a.jsonl:2 is empty", "x"),
        ('{"id": {}, "text": "b"}', "a.jsonl:2 has no id in 'id'", "a.jsonl:2"),
    ],
)
def test_a_bad_line_does_not_stop_the_others(line: str, message: str, identity: str) -> None:
    write("a.jsonl", f'{{"text": "first"}}\n{line}\n{{"text": "last"}}')
    first, bad, last = rows("a.jsonl")
    assert problem(bad).startswith(message)
    assert (bad.id, bad.source) == (identity, "a.jsonl:2")
    assert (first.text, last.text, last.id) == ("first", "last", "a.jsonl:3")


@pytest.mark.parametrize("line", ['{"text": "b"}', '{"text": "b", "key": ""}'])
def test_an_id_field_that_was_named_is_required(line: str) -> None:
    write("a.jsonl", line)
    assert problem(row("a.jsonl", id_field="key")) == "a.jsonl:1 has no id in 'key'"
    assert problem(row("a.jsonl", id_field="id")) == "a.jsonl:1 has no id in 'id'"


# Tables


def test_a_table_row_is_a_row() -> None:
    write("a.csv", '\ufeffid,text,note\r\n1,"one, ""two""\r\nthree",n\r\n\r\n2,four,\r\n')
    assert rows("a.csv") == [
        Row(
            "1",
            "a.csv:2",
            'one, "two"\r\nthree',
            {"id": "1", "text": 'one, "two"\r\nthree', "note": "n"},
        ),
        Row("2", "a.csv:5", "four", {"id": "2", "text": "four", "note": ""}),
    ]
    assert [each.fields for each in rows("a.csv")] == [
        {"id": "1", "note": "n"},
        {"id": "2", "note": ""},
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "text\tid\na, b; c\t1\n"),
        ("a.tsv", "id\ttext\r\n1\ta, b; c\r\n"),
        ("a.csv", 'id,text\n1,"a, b; c"\n'),
        ("a.csv", "id\ttext\n1\ta, b; c\n"),
        ("a.csv", 'id;text\n1;"a, b; c"\n'),
        ("a.csv", 'id,text\r1,"a, b; c"\r'),
        ("a.csv", "id\ttext\n1\ta, b; c\n".encode("utf-16")),
    ],
)
def test_tables_as_spreadsheets_write_them(name: str, content: str | bytes) -> None:
    write(name, content)
    assert (row(name).id, row(name).text) == ("1", "a, b; c")


def test_blank_rows_are_not_rows_and_a_short_one_says_so() -> None:
    write("a.csv", "sep=;\nid;text;note\n1;one\n;;\n2;two;n\n;;\n;;\n")
    short, whole = rows("a.csv")
    assert (short.text, short.source, whole.text, whole.source) == (
        "one",
        "a.csv:3",
        "two",
        "a.csv:5",
    )
    assert short.warnings == (
        "a.csv:3 has 2 cells where the header has 3: the last ones are empty",
    )
    assert whole.warnings == ()


def test_a_table_without_a_header_has_numbered_columns() -> None:
    write("a.csv", "7;one\n8;two, three\n")
    parsed = rows("a.csv", has_header=False, text_field="2", id_field="1")
    assert [(each.id, each.text) for each in parsed] == [("7", "one"), ("8", "two, three")]
    with pytest.raises(UsageError, match="no column 'text'; it has '7', 'one'") as error:
        rows("a.csv")
    assert "--no-header" in error.value.hint


def test_a_cell_can_have_any_length() -> None:
    write("a.csv", "text\n" + "x" * 1_000_000)
    assert len(row("a.csv").text) == 1_000_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1", "a.csv:2 is empty"),
        ("1,a, b", "a.csv:2 has 3 cells where the header has 2"),
        ('1,"a" b', "a.csv:2 is not CSV"),
        ('1,""', "a.csv:2 is empty"),
    ],
)
def test_a_bad_table_row_does_not_stop_the_others(line: str, message: str) -> None:
    write("a.csv", f"id,text\n{line}\n2,good\n")
    bad, good = rows("a.csv")
    assert problem(bad).startswith(message)
    assert (good.id, good.source, good.text) == ("2", "a.csv:3", "good")


def test_an_unclosed_quote_is_an_error() -> None:
    write("a.csv", 'id,text\n1,good\n2,"open\n3,lost\n')
    good, bad = rows("a.csv")
    assert good.text == "good"
    assert problem(bad).startswith("a.csv:3 is not CSV: unexpected end of data")


@pytest.mark.parametrize(
    ("options", "column"),
    [
        ({}, "'text'"),
        ({"text_field": "note"}, "'note'"),
        ({"text_field": "a", "id_field": "k"}, "'k'"),
    ],
)
def test_a_missing_column_is_refused_before_the_first_row(
    options: dict[str, str], column: str
) -> None:
    write("a.csv", "a,b\n1,2\n")
    with pytest.raises(UsageError, match=f"a.csv has no column {column}; it has 'a', 'b'") as error:
        rows("a.csv", **options)
    assert "--text-field" in error.value.hint


@pytest.mark.parametrize(
    ("header", "message"),
    [("text,a,a", "a.csv names the column 'a' twice"), ('"text"x,a', "a.csv:1 is not CSV")],
)
def test_a_bad_header_is_refused_before_the_first_row(header: str, message: str) -> None:
    write("a.csv", f"{header}\n1,2,3\n")
    with pytest.raises(UsageError, match=message):
        rows("a.csv")


# The batch


def test_rows_come_in_the_order_of_the_names() -> None:
    write("b.txt", "file")
    write("a.jsonl", '{"text": "line"}')
    write("c.csv", "text\ncell\n")
    parsed = rows("b.txt", "-", "a.jsonl", "c.csv", "b.txt", stdin=b"piped")
    assert [one.text for one in parsed] == ["file", "piped", "line", "cell"]


def test_ids_are_unique() -> None:
    write("a.jsonl", '{"text": "x", "id": "1"}\n{"text": "y", "id": "2"}')
    write("b.csv", "text,id\nx,1\n")
    with pytest.raises(UsageError, match=r"'1' occurs twice: in a\.jsonl:1 and b\.csv:2") as error:
        check_unique(rows("a.jsonl", "b.csv"))
    assert "--id-field" in error.value.hint


@pytest.mark.parametrize("stdin", [b"", b"\n \n"])
def test_inputs_without_rows_are_an_error(stdin: bytes) -> None:
    with pytest.raises(UsageError, match="there are no rows"):
        rows(stdin=stdin)
    write("a.csv", "id,text\n")
    write("empty.csv", "")
    with pytest.raises(UsageError, match="there are no rows"):
        rows("a.csv", "empty.csv")
    surroundings = make_terminal()
    assert len(list(read_rows(["a.csv", write("b.txt", "text")], surroundings))) == 1
    assert surroundings.warnings == ["a.csv has no rows"]


@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
def test_an_only_input_that_is_also_the_output_is_named(link: str | None) -> None:
    output = Path(write("a.csv", "text\nx\n"))
    if link:
        output = Path("b.csv")
        (output.symlink_to if link == "symbolic" else output.hardlink_to)("a.csv")
    with pytest.raises(UsageError, match=r"read only what it writes: a\.csv") as error:
        read_rows(["a.csv"], make_terminal(), outputs=[output])
    assert "to another file" in error.value.hint
    other = write("c.txt", "text")
    assert len(list(read_rows(["a.csv", other], make_terminal(), outputs=[output]))) == 1


def test_a_stdin_without_rows_is_an_error() -> None:
    person = make_terminal(TerminalStream("typed"))
    with pytest.raises(UsageError, match="there are no rows"):
        read_rows([], person)
    with pytest.raises(UsageError, match="stdin cannot be read: it is closed"):
        rows()
    with pytest.raises(UsageError, match="stdin is not a text file"):
        rows(stdin=b"\0")


def test_reading_lines_is_linear() -> None:
    def seconds(count: int) -> float:
        lines = (json.dumps({"id": i, "text": f"text {i}"}) for i in range(count))
        write("a.jsonl", "\n".join(lines))
        start = time.process_time()
        assert len(rows("a.jsonl")) == count
        return time.process_time() - start

    # Ten times the lines take ten times as long; a quadratic algorithm takes a hundred times.
    assert seconds(20_000) < 40 * seconds(2_000)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
pairs = st.lists(st.tuples(texts, texts), min_size=1, unique_by=lambda pair: pair[0])


def expected(pairs: list[tuple[str, str]]) -> list[tuple[str, str | None]]:
    return [(identity, text if text.strip() else None) for identity, text in pairs]


def id_and_text(parsed: list[Row]) -> list[tuple[str, str | None]]:
    return [(one.id, None if one.error else one.text) for one in parsed]


@given(pairs, st.booleans())
@example([("\u2028", "\r\n\x85\ufeff")], False)
def test_json_rows_round_trip(pairs: list[tuple[str, str]], ascii_only: bool) -> None:
    lines = [
        json.dumps({"id": identity, "text": text}, ensure_ascii=ascii_only)
        for identity, text in pairs
    ]
    write("round.jsonl", "\n\n".join(lines))
    parsed = rows("round.jsonl")
    assert id_and_text(parsed) == expected(pairs)
    assert [one.source for one in parsed] == [f"round.jsonl:{2 * i + 1}" for i in range(len(pairs))]


@given(pairs, st.sampled_from(",;\t|"), st.booleans(), st.booleans())
@example([("a\nb", '"\r\n\n"'), ("c", "x")], ",", False, False)
@example([("'a,", "'b, c'"), ("C:\\", 'say \\"x\\", y')], ",", False, False)
@example([(', "a"', "b, 'c'"), ("d", ' "')], ";", False, True)
def test_csv_rows_round_trip(
    pairs: list[tuple[str, str]], delimiter: str, all_quoted: bool, separator_line: bool
) -> None:
    pairs = [pair for pair in pairs if any(cell.strip().strip("\x1a") for cell in pair)]
    assume(pairs)
    whole = io.StringIO(newline="")
    if separator_line:
        whole.write(f"sep={delimiter}\r\n")
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(whole, delimiter=delimiter, quoting=quoting)
    writer.writerow(["id", "text"])
    lines = []
    for pair in pairs:
        # Count lines as an editor does.
        lines.append(1 + sum(1 for _ in io.StringIO(whole.getvalue(), newline="")))
        writer.writerow(pair)
    write("round.csv", whole.getvalue())
    parsed = rows("round.csv")
    assert id_and_text(parsed) == expected(pairs)
    assert [one.source for one in parsed] == [f"round.csv:{line}" for line in lines]
