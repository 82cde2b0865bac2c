"""Models that reason, through the whole program: the answer without the thought."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.program import Run
from support.reasoning_models import THOUGHT, TOKENS
from synthetic.scripted import write_scripted

from mistral_cli.models.gguf import reread_gguf

GREEDY = ["--temperature", "0", "--repetition-penalty", "1", "-t", "1", "--no-cache"]


def test_the_answer_comes_without_the_thought(run: Run, qwen3: Path) -> None:
    result = run("generate", "-m", qwen3, *GREEDY, "--reasoning", "on", "2 + 2?")
    assert (result.status, result.stdout, result.stderr) == (0, "The answer is four\n", "")


def test_auto_leaves_the_thought_to_the_model(run: Run, qwen3_thinker: Path) -> None:
    result = run("generate", "-m", qwen3_thinker, *GREEDY, "--json", "2 + 2?")
    fields = json.loads(result.stdout)
    assert (fields["text"], fields["reasoning_tokens"]) == ("The answer is four", 6)


def test_the_thought_is_shown_on_request(run: Run, qwen3: Path) -> None:
    options = ["--reasoning", "on", "--show-reasoning", "--json"]
    result = run("generate", "-m", qwen3, *GREEDY, *options, "2 + 2?")
    fields = json.loads(result.stdout)
    assert result.stderr == "Hidden secret thought.\n"
    assert (fields["text"], fields["reasoning"]) == ("The answer is four", "Hidden secret thought.")
    assert (fields["reasoning_tokens"], fields["completion_tokens"]) == (5, 6)


def test_without_reasoning_the_thought_is_skipped(run: Run, qwen3: Path) -> None:
    options = ["--reasoning", "off", "--json"]
    fields = json.loads(run("generate", "-m", qwen3, *GREEDY, *options, "2 + 2?").stdout)
    assert (fields["text"], fields["reasoning_tokens"]) == ("The answer is four", 0)


def test_a_budget_ends_the_thought_and_the_model_answers(run: Run, qwen3: Path) -> None:
    options = ["--reasoning-budget", "2", "--show-reasoning"]
    result = run("generate", "-m", qwen3, *GREEDY, *options, "2 + 2?")
    assert (result.stdout, result.stderr) == ("The answer is four\n", "Hidden secret\n")


def test_the_answer_has_its_own_limit(run: Run, qwen3: Path) -> None:
    result = run("generate", "-m", qwen3, *GREEDY, "--reasoning", "on", "-n", "3", "2 + 2?")
    assert result.stdout == "The answer\n"


def test_a_thought_that_never_ends_is_an_error(
    run: Run, tmp_path: Path, real_files: Path, real_templates: dict[str, str]
) -> None:
    model = write_scripted(
        tmp_path / "endless.gguf",
        real_files / "ggml-vocab-qwen2.gguf",
        real_templates["Qwen-Qwen3-0.6B"],
        ["<think>", "\n", *THOUGHT, "\n"],
        respelled=TOKENS,
    )
    result = run("generate", "-m", model, *GREEDY, "--reasoning", "on", "-c", "100", "2 + 2?")
    assert (result.status, result.stdout) == (6, "")
    assert "wrote no answer" in result.stderr


def test_json_begins_after_the_thought(run: Run, qwen3: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"const": 4}}, "required": ["n"]}')
    arguments = ["-m", qwen3, *GREEDY, "--schema", schema, "--no-grounded", "--reasoning", "on"]
    result = run("json-extract", *arguments, "--show-reasoning", "2 + 2?")
    assert (json.loads(result.stdout), result.stderr) == ({"n": 4}, "Hidden secret thought.\n")


def test_a_summary_counts_the_sentences_of_the_answer(run: Run, qwen3: Path) -> None:
    arguments = ["-m", qwen3, *GREEDY, "--reasoning", "on", "--sentences", "1"]
    result = run("summarize", *arguments, "Two and two were added.")
    assert (result.stdout, result.stderr) == ("The answer is four\n", "")


def test_a_batch_has_the_answers(run: Run, qwen3: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n{"text": "two"}\n')
    result = run("batch", "generate", rows, "-m", qwen3, *GREEDY, "--reasoning", "on", "-q")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["text"] for record in records] == ["The answer is four"] * 2
    assert "reasoning" not in records[0]


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (["--reasoning-effort", "high"], "does not have the reasoning effort 'high'"),
        (["--reasoning", "off", "--reasoning-effort", "low"], "no effect with --reasoning off"),
        (["--raw", "--reasoning", "on"], "Drop --reasoning on, or drop --raw."),
    ],
)
def test_options_that_the_model_or_another_option_excludes(
    run: Run, qwen3: Path, option: list[str], problem: str
) -> None:
    result = run("generate", "--engine", "fake", "-m", qwen3, *option, "Hello")
    assert (result.status, result.stdout) == (2, "")
    assert problem in result.stderr


@pytest.mark.parametrize("option", [["--reasoning", "on"], ["--reasoning-budget", "9"]])
def test_a_model_that_does_not_reason_refuses_to(
    run: Run, mistral: Path, option: list[str]
) -> None:
    result = run("generate", "-m", mistral, *option, "Hello")
    assert (result.status, result.stdout) == (2, "")
    assert "has no reasoning to switch" in result.stderr


PLAIN = (
    "{% for m in messages %}{% if m.role == 'assistant' %}assistant: <think>"
    "{{ m.reasoning_content }}</think>{{ m.content }}\n{% else %}{{ m.role }}: {{ m.content }}\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}assistant: <think>{% endif %}"
)
VOCABULARIES = [
    *("aquila", "baichuan", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4"),
    *("gpt-2", "gpt-neox", "llama-bpe", "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact"),
    "starcoder",
]
OLD = ["baichuan", "llama-spm", "phi-3"]


@pytest.mark.parametrize(
    ("name", "engine"),
    [*((name, "llama.cpp") for name in VOCABULARIES), *((name, "ctransformers") for name in OLD)],
)
def test_every_vocabulary_on_every_engine_that_runs_it(
    run: Run, tmp_path: Path, real_files: Path, name: str, engine: str
) -> None:
    vocabulary = real_files / f"ggml-vocab-{name}.gguf"
    old = reread_gguf(vocabulary)
    tokens = [text.decode("utf-8", "replace") for text in old.tokens]
    words = [token for token, text in enumerate(tokens) if text.isascii() and text.isalpha()]
    words = [token for token in words if len(tokens[token]) > 5]
    *_, opening, closing = words
    script = [opening, *words[:2], closing, *words[2:4]]
    model = write_scripted(
        tmp_path / "model.gguf",
        vocabulary,
        PLAIN,
        [f"#{token}" for token in (*script, old.eos_id)],
        respelled={opening: "<think>", closing: "</think>"},
    )
    options = ("--engine", engine, "-c", "512", "-n", "9", "--show-reasoning")
    result = run("generate", "-m", model, *GREEDY, *options, "Hi")
    thought, answer = ("".join(tokens[word] for word in words[n : n + 2]) for n in (0, 2))
    assert (result.status, result.stdout, result.stderr) == (0, f"{answer}\n", f"{thought}\n")
