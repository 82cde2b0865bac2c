"""The token ids that `finetune` trains on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.program import Run

from mistral_cli.errors import MistralCliError
from mistral_cli.finetune.data import TrainingData
from mistral_cli.finetune.encode import encode_examples
from mistral_cli.models.gguf import read_gguf


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
