"""The prompt of each row: placeholders of `--prompt`, and OpenAI requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import Batch, texts_of
from support.plans import request_of

from mistral_cli.batch.input.rows import Row
from mistral_cli.batch.keys import RowKeys
from mistral_cli.batch.prompts import RowPrompts
from mistral_cli.errors import MistralCliError, OutputInvalid, UsageError
from mistral_cli.generation.task import Task


def test_placeholders_take_the_values_of_a_table_row(batch: Batch, here: Path) -> None:
    (here / "t.csv").write_text('no;author;body;\n7;Zoë;hello, "you";x\n8;Ann;bye;y\n')
    args = ("generate", "t.csv", "--text-field", "body", "--id-field", "no", "-o", "out.jsonl")
    assert batch(*args, "--prompt", "Rate {text} of {author}").status == 0
    assert texts_of(here / "out.jsonl") == {"7": '"you" of Zoë', "8": "bye of Ann"}
    # Without {text} the instruction follows the text; other braces stay as they are.
    assert batch(*args, "--prompt", "JSON like {} by {author}").status == 0
    assert texts_of(here / "out.jsonl") == {"7": "{} by Zoë", "8": "{} by Ann"}


def test_an_unknown_placeholder_is_refused_before_the_first_row(batch: Batch, here: Path) -> None:
    """If only some rows lack the value, those rows fail."""
    (here / "t.jsonl").write_text('{"text": "one two", "by": "Zoë"}\n{"text": "b"}\n')
    result = batch("generate", "t.jsonl", "-o", "out.jsonl", "--prompt", "{text} {titel}")
    assert result.status == 2
    assert "no row has a value for {titel} in --prompt" in result.stderr
    assert "The rows have {by}, {text}." in result.stderr
    assert not (here / "out.jsonl").exists()
    result = batch("generate", "t.jsonl", "-o", "out.jsonl", "--prompt", "{text} {by}")
    assert result.status == 10
    assert texts_of(here / "out.jsonl") == {
        "t.jsonl:1": "one two Zoë",
        "t.jsonl:2": "t.jsonl:2 has no 'by'",
    }


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("summarize", ("--sentences", 2)),
        ("json-extract", ("--fields", "a")),
        ("generate", ("--prompt", "Answer {text}")),
        ("generate", ("--system", "Be brief.")),
        ("generate", ("--raw",)),
    ],
)
def test_openai_requests_refuse_another_instruction(
    batch: Batch, here: Path, task: str, more: tuple[object, ...]
) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    (here / "in.jsonl").write_text(json.dumps({"custom_id": "a", "body": body}))
    result = batch(task, "in.jsonl", *more)
    assert result.status == 2
    assert "in.jsonl:1 is an OpenAI request, which contains its own instruction" in result.stderr


def test_a_failed_row_is_recognized_whatever_words_its_error_has() -> None:
    nothing: Any = None
    prompts = RowPrompts(nothing, nothing, nothing)

    def key(error: MistralCliError, text: str = "text") -> str:
        row = Row("1", "rows.jsonl:1", text, error=error)
        return RowKeys(prompts, nothing, "digest").of(row).key

    one = key(UsageError("is no text", hint="Write one."))
    assert one == key(UsageError("is not a string", hint="Write one."))
    assert one != key(UsageError("is no text", hint="Write one."), "another text")
    assert one != key(OutputInvalid("is no text", hint="Write one."))


def test_the_engine_must_have_the_samplers_that_rows_ask_for(
    batch: Batch, here: Path, mistral: Path
) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "dry_multiplier": 0.8}
    (here / "in.jsonl").write_text(json.dumps({"custom_id": "a", "body": body}))
    result = batch("generate", "in.jsonl", "--engine", "ctransformers", "-m", mistral)
    assert result.status == 2
    assert "ctransformers does not have the DRY sampler" in result.stderr


def test_only_settings_with_an_effect_are_part_of_the_key(mistral: Path) -> None:
    """So that the results of versions without these settings are recognized."""

    def key(**options: Any) -> str:
        _, planner = request_of(Task("generate"), mistral, "hi", **options)
        prompts = RowPrompts(Task("generate"), planner.builder, None)
        return RowKeys(prompts, planner.config, "digest").of(Row("1", "rows.jsonl:1", "text")).key

    plain = key()
    assert key(min_p=0.0, repeat_last_n=64, presence_penalty=0.0, dry_multiplier=0.0) == plain
    assert len({plain, key(min_p=0.25), key(repeat_last_n=9), key(dry_multiplier=0.5)}) == 4
