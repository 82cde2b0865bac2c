"""Labels from an option and from files, and labelled texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.terminals import make_terminal

from mistral_cli.errors import UsageError
from mistral_cli.texts.labels import Label, LabelledText, parse_labels, read_labelled, read_labels

BUG = Label("bug", "something is broken", ("It crashes.", "Nothing happens."))
QUESTION = Label("question", "asks: how, where", ())
WHOLE = (BUG, QUESTION)

FILES = {
    "labels.csv": "name,description,examples\n"
    'bug,something is broken,It crashes. | Nothing happens.\nquestion,"asks: how, where",\n',
    "labels.tsv": "label\tdescription\texamples\n"
    "bug\tsomething is broken\tIt crashes.|Nothing happens.\nquestion\tasks: how, where\t\n",
    "labels.yaml": "- name: bug\n  description: something is broken\n"
    "  examples: [It crashes., Nothing happens.]\n"
    "- {name: question, description: 'asks: how, where'}\n",
    "labels.yml": "bug:\n  description: something is broken\n"
    "  examples:\n    - It crashes.\n    - Nothing happens.\nquestion: 'asks: how, where'\n",
    "labels.json": '{"labels": [{"name": "bug", "description": "something is broken", '
    '"examples": ["It crashes.", "Nothing happens."]}, '
    '{"name": "question", "description": "asks: how, where"}]}',
}


@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_has_names_descriptions_and_examples(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    assert read_labels(path, make_terminal()) == WHOLE


def test_a_text_file_has_a_label_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("# tickets\nbug: something is broken\n\nquestion: asks: how, where\npraise\n")
    labels = read_labels(path, make_terminal())
    assert labels == (Label("bug", "something is broken"), QUESTION, Label("praise"))


def test_yaml_booleans_are_the_words_that_people_mean(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text("- yes\n- no\n- 3\n")
    assert [label.name for label in read_labels(path, make_terminal())] == ["yes", "no", "3"]


def test_a_list_of_labels() -> None:
    names = [label.name for label in parse_labels(' bug,  bug report , "praise, or thanks" ')]
    assert names == ["bug", "bug report", "praise, or thanks"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "no labels"),
        ("bug,,praise", "an empty label"),
        ("bug, Bug", "twice"),
        ('bug, "praise', "cannot be read"),
    ],
)
def test_a_wrong_list_is_refused(value: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_labels(value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "title,text\nbug,x\n", "no column 'name'"),
        ("a.json", "[", "not JSON"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.yaml", "- a: [", "not YAML"),
        ("a.json", "5", "not a list of labels"),
        ("a.json", '[{"name": "a", "colour": "red"}]', "unknown key 'colour'"),
        ("a.json", '[{"name": ["a"]}]', "another form"),
        ("a.json", '[{"name": "a", "examples": "b"}]', "another form"),
        ("a.txt", "# nothing\n", "no labels"),
        ("a.txt", ": a description\n", "empty label"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, name: str, content: str, problem: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError, match=problem):
        read_labels(path, make_terminal())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--labels-file cannot be read: .*none\.txt"):
        read_labels(tmp_path / "none.txt", make_terminal())


def test_labelled_texts_have_labels_in_any_case_and_maybe_several(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,label,text\n1,BUG,It crashes.\n2,bug| question,Why?\n3,,\n")
    rows = read_labelled(path, WHOLE, "--examples", make_terminal())
    assert rows == (
        LabelledText("It crashes.", ("bug",)),
        LabelledText("Why?", ("bug", "question")),
    )


def test_an_unknown_label_is_refused_or_no_label(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nIt crashes.,bug\nHello!,spam\n")
    with pytest.raises(UsageError, match=r"rows\.csv:3 has the label 'spam'"):
        read_labelled(path, WHOLE, "--examples", make_terminal())
    rows = read_labelled(path, WHOLE, "--calibration", make_terminal(), others=True)
    assert rows[1] == LabelledText("Hello!", ())


@pytest.mark.parametrize(
    ("content", "problem"), [("text,kind\na,b\n", "no column 'label'"), ("text,label\n", "no rows")]
)
def test_a_wrong_table_of_texts_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=problem):
        read_labelled(path, WHOLE, "--examples", make_terminal())


def test_a_text_needs_a_label_unless_it_may_have_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nIt crashes.,bug\nHello!,|\n")
    with pytest.raises(UsageError, match=r"rows\.csv:3 has no label"):
        read_labelled(path, WHOLE, "--examples", make_terminal())
    rows = read_labelled(path, WHOLE, "--examples", make_terminal(), unlabelled=True)
    assert rows[1] == LabelledText("Hello!", ())


def test_a_label_may_contain_a_bar(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nI cannot print.,Hardware | printer\n")
    labels = parse_labels("hardware | printer, software")
    (row,) = read_labelled(path, labels, "--examples", make_terminal())
    assert row.labels == ("hardware | printer",)
