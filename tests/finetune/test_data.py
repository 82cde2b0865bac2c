"""The rows that `finetune` reads and refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.training import EXAMPLES

from mistral_cli.errors import UsageError
from mistral_cli.finetune.data import TrainingData
from mistral_cli.generation.templates import find_template
from mistral_cli.models.chat import Message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'prompt,completion\nhi,"good, day"\n'),
        ("a.tsv", "completion\tprompt\ngood, day\thi\n"),
        ("a.csv", 'text\n"###Human:\nhi\n\n###Assistant:\ngood, day"\n'),
        ("a.csv", 'text\n"### Instruction: hi ### Response: good, day"\n'),
        ("a.csv", 'text\n"<s>[INST] hi [/INST] good, day</s>"\n'),
        ("a.jsonl", '{"prompt": " hi", "completion": "good, day\\n"}\n'),
        ("a.jsonl", '{"text": "[INST]hi[/INST]good, day"}\n'),
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": "hi"}, '
            '{"role": "assistant", "content": "good, day"}]}\n',
        ),
    ],
)
def test_all_forms_of_a_row_give_the_same_example(
    written: Callable[..., TrainingData], name: str, content: str
) -> None:
    (example,) = written(content, name).examples
    assert example.messages == (Message("user", "hi"),)
    assert example.completion == "good, day"


def test_every_answer_of_a_conversation_is_an_example(written: Callable[..., TrainingData]) -> None:
    turns = [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    data = written(json.dumps(row), "a.jsonl")
    assert data.rows == 1
    assert [len(example.messages) for example in data.examples] == [2, 4]
    assert [example.completion for example in data.examples] == ["b", "d"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", "prompt,completion\n", "a.csv has no rows"),
        ("a.csv", "question,answer\na,b\n", "a.csv has the columns question, answer"),
        ("a.csv", "prompt\na\n", "a.csv has the columns prompt"),
        ("a.csv", "prompt,completion\na,b\n ,c\n", "a.csv:3 has an empty prompt"),
        ("a.csv", "prompt,completion\na,b\nc,\n", "a.csv:3 has an empty completion"),
        ("a.csv", "prompt,completion\na,b,c\n", "a.csv:2 has 3 cells where the header has 2"),
        ("a.csv", 'prompt,completion\na,"b\n', "a.csv:2 is not CSV"),
        ("a.csv", "text\njust a text\n", "a.csv:2 does not have the form"),
        ("a.csv", "text\nx ###Human: a ###Assistant: b\n", "does not have the form"),
        ("a.csv", "text\n###Human: a ###Human: b\n", "is not a single question with its answer"),
        ("a.csv", "text\n[INST]a[/INST]b[INST]c[/INST]d\n", "is not a single question"),
        ("a.jsonl", "{\n", "a.jsonl:1 is not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1 is not a JSON object"),
        ("a.jsonl", '{"a": 1}\n', "a.jsonl:1 has none of the keys"),
        ("a.jsonl", '{"prompt": "a", "completion": 3}\n', "has no string under 'completion'"),
        ("a.jsonl", '{"prompt": "a"}\n', "a.jsonl:1 has no string under 'completion'"),
        ("a.jsonl", '{"messages": "a"}\n', "no list of objects under 'messages'"),
        ("a.jsonl", '{"messages": [{"role": "bot", "content": "a"}]}\n', "the unknown role 'bot'"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": 1}]}\n', "content is not a string"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "a"}]}\n', "do not alternate user"),
    ],
)
def test_an_error_names_the_line_of_the_bad_row(
    written: Callable[..., TrainingData], name: str, content: str, problem: str
) -> None:
    with pytest.raises(UsageError) as refused:
        written(content, name)
    assert problem in refused.value.message.replace(str(Path("/")), "/")
    assert refused.value.hint


def test_an_error_lists_ten_bad_rows_and_counts_the_rest(
    written: Callable[..., TrainingData],
) -> None:
    with pytest.raises(UsageError, match="12 of 13 rows cannot be used") as refused:
        written("prompt,completion\na,b\n" + "c,\n" * 12)
    lines = refused.value.details.splitlines()
    assert len(lines) == 11
    assert lines[-1].strip() == "and 2 more"


def test_unused_columns_are_reported(written: Callable[..., TrainingData]) -> None:
    assert written("id,prompt,completion\n1,a,b\n").unused == ("id",)


def test_the_example_prompts_match_the_template() -> None:
    template = find_template("midjourney")
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 48
    for row in rows:
        subject = row["prompt"].split(" words for ", 1)[1]
        assert template.fill(subject) == [Message("user", row["prompt"])]
        assert len(row["completion"].split(" --ar ")[0].split()) < 20


def test_data_is_checked_before_heavy_imports(tmp_path: Path) -> None:
    import subprocess
    import sys

    bad = tmp_path / "bad.csv"
    bad.write_text("prompt,completion\na,\n", encoding="utf-8")
    code = (
        "import sys\n"
        "from mistral_cli.cli.app import app\n"
        "from mistral_cli.errors import MistralCliError\n"
        "try:\n    app()\nexcept MistralCliError as error:\n"
        "    print(error.message, error.details, file=sys.stderr)\n"
        "    heavy = {'torch', 'transformers', 'xllamacpp', 'huggingface_hub'}\n"
        "    print(sorted(heavy & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, "finetune", str(bad)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "bad.csv:2 has an empty completion" in process.stderr
    assert process.stdout == "[]\n"
