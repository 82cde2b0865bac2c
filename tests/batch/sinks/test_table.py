"""Results as a CSV or TSV table, with the columns of the inputs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch
from support.fake_engine import Script

LEDGER = ".out.csv.mistral-cli-batch.jsonl"
TICKETS = (
    'id,text,from\r\n7,"The menu, or ""bar"", is broken bug",Ada\r\n8,Where is it question,Bo\r\n'
)


def table(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def columns(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet or Arrow file."""
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = (
            pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
        )
        return rows
    with pytest.importorskip("pyarrow").ipc.open_file(path) as file:
        return file.read_all().to_pylist()


def test_a_table_gets_the_answers_in_a_new_column(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_bytes(TICKETS.encode())
    assert batch("generate", "in.csv", "--id-field", "id", "-o", "out.csv").status == 0
    assert (here / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfid,text,from,answer\r\n")
    first, second = table(here / "out.csv")
    assert first == {
        "id": "7",
        "text": 'The menu, or "bar", is broken bug',
        "from": "Ada",
        "answer": "is broken bug",
    }
    assert second["answer"] == "is it question"


def test_the_rows_are_in_the_order_of_the_inputs(batch: Batch, here: Path) -> None:
    rows = [f"row {number}" for number in range(30)]
    (here / "in.csv").write_text("text\n" + "\n".join(rows))
    assert batch("generate", "in.csv", "-o", "out.csv", "--parallel", "4").status == 0
    assert [row["text"] for row in table(here / "out.csv")] == rows


def test_labels_and_probabilities_are_columns(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_bytes(TICKETS.encode())
    options = ("--labels", "bug, question", "--no-calibrate")
    assert batch("classify", "in.csv", *options, "-o", "out.csv").status == 0
    first, second = table(here / "out.csv")
    assert [*first] == ["id", "text", "from", "label", "probability"]
    assert (first["label"], second["label"]) == ("bug", "question")
    assert 0.8 < float(first["probability"]) < 1


def test_several_labels_are_joined_and_each_has_a_probability(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_text("text,label\nA row,old\n")
    options = ("--labels", "bug, question", "--multi", "--no-calibrate", "--otherwise", "none")
    assert batch("classify", "in.csv", *options, "-o", "out.csv").status == 0
    (row,) = table(here / "out.csv")
    names = ["answer_label", "probability", "probability of bug", "probability of question"]
    assert [*row] == ["text", "label", *names]
    assert (row["label"], row["answer_label"]) == ("old", "bug|question")


def test_a_labelled_table_can_be_labelled_once_more(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_text("text,label\nA row,old\n")
    options = ("--labels", "bug, question", "--no-calibrate")
    assert batch("classify", "in.csv", *options, "-o", "first.csv").status == 0
    assert batch("classify", "first.csv", *options, "-o", "out.csv").status == 0
    (row,) = table(here / "out.csv")
    again = ["answer_answer_label", "answer_probability"]
    assert [*row] == ["text", "label", "answer_label", "probability", *again]


def test_tabs_separate_the_cells_of_a_tsv_file(batch: Batch, here: Path) -> None:
    (here / "rows.txt").write_text("one, two\nthree\n")
    arguments = ("rows.txt", "--input-format", "lines", "-o", "out.tsv")
    assert batch("generate", *arguments).status == 0
    first, _ = table(here / "out.tsv", "\t")
    assert first["text"] == "one, two"


def test_a_later_run_continues(batch: Batch, here: Path, script: Script) -> None:
    (here / "in.csv").write_text("text\ngood one\nbad two\ngood three\n")
    script(fail_on="bad")
    assert batch("generate", "in.csv", "-o", "out.csv").status == 10
    rows = table(here / "out.csv")
    assert [bool(row["answer"]) for row in rows] == [True, False, True]
    assert rows[1]["error"] == "the prompt has bad"
    script()
    result = batch("generate", "in.csv", "-o", "out.csv", "--retry-failed")
    assert "3 of 3 rows done, 2 of them in earlier runs" in result.stderr
    rows = table(here / "out.csv")
    assert [*rows[0]] == ["text", "answer"]
    assert all(row["answer"] for row in rows)


def test_rows_that_are_left_have_empty_cells(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_text("text\none\ntwo\nthree\n")
    assert batch("generate", "in.csv", "-o", "out.csv", "--limit", "1").status == 0
    assert [bool(row["answer"]) for row in table(here / "out.csv")] == [True, False, False]
    assert batch("generate", "in.csv", "-o", "out.csv").status == 0
    assert all(row["answer"] for row in table(here / "out.csv"))


def test_a_table_of_another_program_is_kept(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_text("text\none\n")
    (here / "out.csv").write_text("precious\n")
    for _ in range(2):
        result = batch("generate", "in.csv", "-o", "out.csv")
        assert result.status == 2
        assert "exists and is not a result of this batch" in result.stderr
        assert (here / "out.csv").read_text() == "precious\n"
    assert not (here / LEDGER).exists()
    assert batch("generate", "in.csv", "-o", "out.csv", "--force").status == 0
    assert table(here / "out.csv")[0]["answer"]


def test_json_lines_keep_every_field_and_json_has_its_text_in_one_cell(
    batch: Batch, here: Path, script: Script
) -> None:
    script(pieces=['{"a": "b"}'])
    (here / "in.jsonl").write_text(json.dumps({"text": "é\n=1+1", "n": 5, "list": [1]}) + "\n")
    assert batch("json-extract", "in.jsonl", "-o", "out.csv").status == 0
    (row,) = table(here / "out.csv")
    assert row == {"text": "é\n=1+1", "n": "5", "answer": '{"a": "b"}'}


def test_openai_lines_are_no_table(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_text("text\none\n")
    result = batch("generate", "in.csv", "-o", "out.csv", "--format", "openai")
    assert result.status == 2
    assert "does not apply to a table" in result.stderr


def test_after_a_crash_the_lines_are_there_and_the_table_is_made_of_them(
    batch: Batch, here: Path
) -> None:
    (here / "in.csv").write_text("text\none\ntwo\n")
    assert batch("generate", "in.csv", "-o", "out.csv", "--limit", "1").status == 0
    (here / "out.csv").unlink()  # as a run leaves it that ends before its last step
    result = batch("generate", "in.csv", "-o", "out.csv")
    assert "2 of 2 rows done, 1 of them in earlier runs" in result.stderr
    assert all(row["answer"] for row in table(here / "out.csv"))


def test_a_dry_run_writes_no_table(batch: Batch, here: Path) -> None:
    (here / "in.csv").write_text("text\none\n")
    assert batch("generate", "in.csv", "-o", "out.csv", "--dry-run").status == 0
    assert [path.name for path in here.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
def test_a_table_may_be_columnar(batch: Batch, here: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    (here / "in.csv").write_bytes(TICKETS.encode() + b'9,"x \xf0\x9f\x98\x80 bug",\r\n')
    out = f"out{suffix}"
    for limit in (2, 3):  # the second run continues the first one
        assert batch("generate", "in.csv", "-o", out, "--limit", str(limit)).status == 0
    rows = columns(here / out)
    assert rows[0] == {
        "id": "7",
        "text": 'The menu, or "bar", is broken bug',
        "from": "Ada",
        "answer": "is broken bug",
    }
    assert [row["answer"] for row in rows] == ["is broken bug", "is it question", "x 😀 bug"]
    assert batch("generate", out, "-o", "again.csv").status == 0  # it can be an input
    assert [row["answer_answer"] for row in table(here / "again.csv")] == [
        row["answer"] for row in rows
    ]


def test_a_columnar_table_has_nulls_and_numbers(batch: Batch, here: Path) -> None:
    pytest.importorskip("pyarrow")
    (here / "in.csv").write_text("text\nOne bug\nTwo bug\n")
    labels = ("--labels", "bug,question")
    for name in ("out.csv", "out.parquet"):
        assert batch("classify", *labels, "in.csv", "-o", name, "--limit", "1").status == 0
    first, second = columns(here / "out.parquet")
    assert second == {"text": "Two bug", "label": None, "probability": None}
    (cells, _) = table(here / "out.csv")
    assert first == {**cells, "probability": float(cells["probability"])}


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.csv.zst"])
def test_results_are_not_written_compressed(batch: Batch, here: Path, name: str) -> None:
    (here / "in.csv").write_text("text\none\n")
    result = batch("generate", "in.csv", "-o", name)
    assert result.status == 2
    assert f"{name} cannot be written compressed" in result.stderr
    assert f"Write {name.rpartition('.')[0]}, and compress it" in result.stderr
    assert [path.name for path in here.iterdir()] == ["in.csv"]
