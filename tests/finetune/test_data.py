"""`finetune` before training: the rows it reads and refuses, their tokens, and the plan."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.program import Result
from support.terminals import make_terminal
from synthetic.models import write_mistral

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.finetune.data import TrainingData, read_data
from mistral_cli.finetune.encode import encode_examples
from mistral_cli.generation.templates import find
from mistral_cli.models.chat import Message
from mistral_cli.models.gguf import read_gguf

Run = Callable[..., Result]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "midjourney.csv"


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., TrainingData]:
    """A function that writes a file and reads it as training data."""

    def written(content: str, name: str = "data.csv") -> TrainingData:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return read_data(path, make_terminal())

    return written


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
    template = find("midjourney")
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 48
    for row in rows:
        subject = row["prompt"].split(" words for ", 1)[1]
        assert template.fill(subject) == [Message("user", row["prompt"])]
        assert len(row["completion"].split(" --ar ")[0].split()) < 20


# --- tokens ------------------------------------------------------------------------------------


def test_training_and_inference_use_the_same_tokens(
    run: Run, written: Callable[..., TrainingData], mistral: Path
) -> None:
    model = read_gguf(mistral)
    data = written('prompt,completion\nWrite </s> [INST],"fine </s>"\n')
    (row,) = encode_examples(data, model, 256)
    arguments = ("generate", "Write </s> [INST]", "-m", mistral, "--dry-run", "--json")
    asked = json.loads(run(*arguments).stdout)
    assert list(row.prompt) == asked["prompt_token_ids"]
    assert row.completion[-1] == model.eos_id
    # The text of a cell never becomes the token that ends an answer.
    assert model.eos_id not in row.completion[:-1]


def test_rows_that_are_too_long_are_listed_and_not_cut(
    written: Callable[..., TrainingData], mistral: Path
) -> None:
    model, long = read_gguf(mistral), "word " * 40
    data = written(f"prompt,completion\na,b\n{long},c\n")
    with pytest.raises(MistralCliError) as refused:
        encode_examples(data, model, 32)
    assert refused.value.message == "1 row is longer than 32 tokens; no row is cut"
    assert "data.csv:3 has" in refused.value.details
    longest = int(refused.value.details.split()[-2])
    assert f"--max-length {longest}" in refused.value.hint
    assert len(encode_examples(data, model, longest)) == 2
    with pytest.raises(MistralCliError, match="longer than 512 tokens") as refused:
        encode_examples(written(f"prompt,completion\n{long * 20},c\n"), model, 4096)
    assert "trained with 512 tokens" in refused.value.hint


def test_a_base_model_needs_no_chat_format(
    written: Callable[..., TrainingData], stories: Path
) -> None:
    model = read_gguf(stories)
    (row,) = encode_examples(written("prompt,completion\nOnce,upon a time\n"), model, 64)
    assert row.prompt[0] == model.bos_id


# --- the plan ----------------------------------------------------------------------------------


def dry_run(run: Run, model: Path, *arguments: object) -> dict[str, Any]:
    result = run("finetune", EXAMPLES, "-m", model, "--dry-run", "--json", *arguments)
    assert result.status == 0, result.stderr
    plan: dict[str, Any] = json.loads(result.stdout)
    return plan


def test_a_dry_run_counts(run: Run, mistral: Path, tmp_path: Path) -> None:
    plan = dry_run(run, mistral)
    assert (plan["rows"], plan["rows_trained_on"], plan["rows_held_out"]) == (50, 45, 5)
    assert plan["steps"] == 3 * 4
    # Two layers; the query matrix is 64 x 64, the value matrix 64 x 32.
    assert plan["trained_parameters"] == 2 * 16 * (64 + 64 + 64 + 32)
    assert plan["tokens_learned"] < plan["tokens"]
    assert plan["seconds"] is not None
    again = dry_run(run, mistral, "--held-out", "0", "--batch-size", "50", "--epochs", "2")
    assert (again["rows_held_out"], again["steps"]) == (0, 2)
    assert not list(tmp_path.glob("*.gguf"))


def test_a_dry_run_in_json_has_these_keys(run: Run, mistral: Path) -> None:
    assert list(dry_run(run, mistral)) == [
        "schema_version",
        "data",
        "rows",
        "rows_trained_on",
        "rows_held_out",
        "tokens",
        "tokens_learned",
        "longest_row",
        "model",
        "weights",
        "target_modules",
        "trained_parameters",
        "learning_rate",
        "epochs",
        "batch_size",
        "gradient_accumulation",
        "steps",
        "device",
        "memory",
        "seconds",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--target-modules", "q_proj,head"), "--target-modules names an unknown module 'head'"),
        (("--target-modules", ","), "--target-modules is empty"),
        (("--gradient-accumulation", "5"), "--gradient-accumulation 5 does not divide the 12 rows"),
        (("--nf4",), "--nf4 needs --base"),
        (("-o", "adapter.bin"), "-o adapter.bin does not end in .gguf"),
        (("--max-length", "16"), "50 rows are longer than 16 tokens"),
    ],
)
def test_impossible_options_are_refused(
    run: Run, mistral: Path, arguments: tuple[str, ...], problem: str
) -> None:
    result = run("finetune", EXAMPLES, "-m", mistral, "--dry-run", *arguments)
    assert problem in result.stderr
    assert (result.status, result.stdout) in ((2, ""), (5, ""))


def test_a_model_that_cannot_be_trained_is_refused(run: Run, tmp_path: Path) -> None:
    scaled = write_mistral(tmp_path / "scaled.gguf", metadata={"llama.rope.scaling.type": "linear"})
    result = run("finetune", EXAMPLES, "-m", scaled, "--dry-run")
    assert result.status == 4
    assert "cannot be trained: it uses RoPE scaling" in result.stderr


def test_without_the_extra_the_error_names_the_install_command(run: Run, mistral: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'trl' else find(name, *a)\n"
        "from mistral_cli.cli.app import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, "finetune", str(EXAMPLES), "-m", str(mistral)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 2
    assert "pip install 'mistral-cli[finetune]'" in process.stderr
    assert not Path("midjourney").exists()


def test_data_is_checked_before_heavy_imports(tmp_path: Path) -> None:
    import subprocess
    import sys

    bad = tmp_path / "bad.csv"
    bad.write_text("prompt,completion\na,\n", encoding="utf-8")
    code = (
        "import sys\n"
        "from mistral_cli.cli.app import app\n"
        "try:\n    app()\nexcept SystemExit:\n"
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
