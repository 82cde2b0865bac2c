"""Tables as Excel, databases and people write them, and whatever Python's csv module writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistral_cli.errors import UsageError
from mistral_cli.texts import tabular
from mistral_cli.texts.tabular import parse_jsonl, parse_table, read_records, split_lines

TWO = [{"id": "1", "text": "Hello, world"}, {"id": "2", "text": "a; b | c"}]


def read(text: str, **options: Any) -> list[Mapping[str, Any] | str]:
    """The rows, or the message of a row that cannot be read."""
    return [
        row.value.message if isinstance(row.value, UsageError) else row.value
        for row in parse_table([text], "t", **options)[1]
    ]


@pytest.mark.parametrize(
    "text",
    [
        'sep=;\r\nid;text\r\n1;Hello, world\r\n2;"a; b | c"\r\n',
        'SEP=,\nid,text\n1,"Hello, world"\n2,a; b | c\n',
        "sep=\t\nid\ttext\n1\tHello, world\n2\ta; b | c\n",
        '"sep=;"\nid;text\n1;Hello, world\n2;"a; b | c"\n',
        'sep=^;;\nid^text\n1^Hello, world\n2^"a; b | c"\n',
        'id|text\n1|Hello, world\n2|"a; b | c"\n',
        "id\ttext\n1\tHello, world\n2\ta; b | c\n",
        'id;text\n1;Hello, world\n2;"a; b | c"',
        '"id","text"\n"1","Hello, world"\n"2","a; b | c"\n',
        'id,text\r1,"Hello, world"\r2,a; b | c\r',
        ' id , text \n1,"Hello, world"\n2,a; b | c\n',
        'id, text\n1, "Hello, world"\n2, "a; b | c"\n',
        "id,text\n1,Hello\\, world\n2,a; b | c\n",
        "'id','text'\n'1','Hello, world'\n'2','a; b | c'\n",
        'id,text\n1,"Hello, world"\n2,a; b | c\n,\n,\n"",""\n\n  ,  \n',
        '\n,\n\nid,text\n1,"Hello, world"\n,\n\n2,a; b | c\n',
        'id,text,,\n1,"Hello, world",,\n2,a; b | c,,\n,,,\n',
        'id,text\n1,"Hello, world",,,\n2,a; b | c,\n',
        'id,text\r\n1,"Hello, world"\r\n2,a; b | c\r\n\x1a',
        'id,text\n1,"Hello, world"\n2,a; b | c\n\0\0\0\0',
    ],
)
def test_the_same_table_written_in_many_ways(text: str) -> None:
    assert read(text) == TWO


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('"Name, first;last";text\n"A;B";x\n', ["Name, first;last", "text"]),
        ('"a;b;c",text\nx,y\n', ["a;b;c", "text"]),
        ('"two\nlines, one name",text\nx,y\n', ["two\nlines, one name", "text"]),
        ('"a ""quoted"" name, really",text\nx,y\n', ['a "quoted" name, really', "text"]),
        ("name;alias,text\nx,hello\ny,you\n", ["name;alias", "text"]),
        ("name, first;text\nAnn;hello\nBob;a, b\n", ["name, first", "text"]),
        ("id|text|a,b\n1|x|y\n", ["id", "text", "a,b"]),
    ],
)
def test_delimiters_in_the_header(text: str, columns: list[str]) -> None:
    header, rows = parse_table([text], "t")
    assert header == columns
    assert all(not isinstance(row.value, UsageError) for row in rows)


def test_a_table_of_one_column_needs_no_quotes() -> None:
    expected = [{"text": "Hello, world; a | b\tc"}, {"text": 'say "hi", twice'}]
    quoted = 'text\n"Hello, world; a | b\tc"\n"say ""hi"", twice"\n'
    assert read(quoted) == expected
    assert read('text\n\nHello, world; a | b\tc\nsay "hi", twice\n \n') == expected
    assert read(quoted, delimiter="\t") == expected


def test_the_lines_of_rows_are_those_of_an_editor() -> None:
    text = 'sep=;\r\nid;text\r\n1;"a\r\nb"\r\n;\r\n\r\n2;c\r\n'
    assert [row.line for row in parse_table([text], "t")[1]] == [3, 7]
    assert [row.line for row in parse_jsonl(['{"a": 1}\r\r{"a": 2}\r'], "t")] == [1, 3]


def test_columns_without_a_name_are_left_out() -> None:
    header, rows = parse_table([",text,\n0,x,note\n1,y,\n"], "t")
    assert header == ["text"]
    assert [row.value for row in rows] == [{"text": "x"}, {"text": "y"}]


@pytest.mark.parametrize("header", ["id,id", "id, id", "a,,a"])
def test_a_name_that_occurs_twice_is_refused(header: str) -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_table(f"{header}\n1,2,3\n", "t")


def test_a_short_row_is_read_with_a_warning_and_a_long_one_is_an_error() -> None:
    text = "id,text,note\n1,hello\n2,a, b, c\n3,x,y,,\n4\n"
    assert read(text) == [
        {"id": "1", "text": "hello", "note": ""},
        "t:3 has 4 cells where the header has 3",
        {"id": "3", "text": "x", "note": "y"},
        {"id": "4", "text": "", "note": ""},
    ]
    warnings = [row.warnings for row in parse_table([text], "t")[1]]
    assert warnings == [
        ("t:2 has 2 cells where the header has 3: the last ones are empty",),
        (),
        (),
        ("t:5 has 1 cell where the header has 3: the last ones are empty",),
    ]


def test_columns_without_a_header_are_numbered() -> None:
    header, rows = parse_table(['7;"a;\nb"\n8;c\n;\n'], "t", has_header=False)
    assert header == ["1", "2"]
    assert [(row.line, row.value) for row in rows] == [
        (1, {"1": "7", "2": "a;\nb"}),
        (3, {"1": "8", "2": "c"}),
    ]
    assert read("one, two\n", has_header=False, delimiter=";") == [{"1": "one", "2": " two"}]
    assert parse_table([], "t", has_header=False)[0] == []


def test_a_quotation_mark_that_is_not_closed_costs_no_other_row_before_it() -> None:
    assert read('id,text\n1,5" pipe\n2,"open\n3,x\n') == [
        {"id": "1", "text": '5" pipe'},
        "t:3 is not CSV: unexpected end of data",
    ]


def is_filled(cell: str) -> bool:
    return cell.strip().strip("\x1a") != ""


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"))
tables = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1)
)


@settings(max_examples=300)
@given(
    tables,
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read_back(
    table: list[list[str]], delimiter: str, quoting: Any, line_end: str
) -> None:
    names = ["id", "text", "note 1", "note 2"][: len(table[0])]
    whole = io.StringIO(newline="")
    writer = csv.writer(whole, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerows([names, *table])
    expected = [dict(zip(names, row, strict=True)) for row in table if any(map(is_filled, row))]
    assert read(whole.getvalue()) == expected


@pytest.mark.parametrize("dialect", csv.list_dialects())
@given(table=tables)
def test_what_each_registered_dialect_writes_is_read_back(
    dialect: str, table: list[list[str]]
) -> None:
    names = ["id", "text", "note 1", "note 2"][: len(table[0])]
    whole = io.StringIO(newline="")
    csv.writer(whole, dialect).writerows([names, *table])
    expected = [dict(zip(names, row, strict=True)) for row in table if any(map(is_filled, row))]
    assert read(whole.getvalue()) == expected


def in_blocks(text: str, data: st.DataObject) -> list[str]:
    """Cut a text anywhere."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(st.text(st.sampled_from('ab\n\r\u2028"')), st.data())
def test_lines_do_not_depend_on_the_blocks(text: str, data: st.DataObject) -> None:
    lines = text.split("\n" if "\n" in text else "\r")
    assert [*split_lines(in_blocks(text, data))] == lines


@given(st.text(st.sampled_from('ab,\n\r"')), st.data())
def test_records_do_not_depend_on_the_blocks(text: str, data: st.DataObject) -> None:
    def records(blocks: list[str]) -> list[tuple[int, object]]:
        return [(line, str(cells)) for line, cells in read_records(blocks, "t", ",", width=2)]

    # The first block tells how the table is written.
    assert records(["x,y\n", *in_blocks(text, data)]) == records(["x,y\n", text])


def test_a_line_that_is_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "LONGEST_ROW", 10)
    assert [*split_lines(["one\n", "a" * 6, "b" * 6, "\ntwo\n", "c" * 10 + "\n", "d" * 11])] == [
        "one",
        None,
        "two",
        "c" * 10,
        None,
    ]
    _, rows = parse_table(["a,b\n", 'x,"' + "y\n" * 20, "z,1\n"], "t", ",")
    values = [row.value for row in rows]
    assert isinstance(values[0], UsageError)
    assert values[-1] == {"a": "z", "b": "1"}
