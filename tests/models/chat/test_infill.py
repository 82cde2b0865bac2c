"""Fill-in-the-middle prompts, with the vocabularies of real models and mistral-common's ids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mistral_common.protocol.fim.request import FIMRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from support.coder import write_coder
from synthetic.models import write_mistral

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.protocol import Session
from mistral_cli.engines.registry import backend
from mistral_cli.errors import ModelUnusable
from mistral_cli.models.chat.formats import tokenize_segments
from mistral_cli.models.chat.infill import find_infill_format, render_infill
from mistral_cli.models.gguf import GGUF, read_gguf, reread_gguf
from mistral_cli.models.gguf.token_text import token_text
from mistral_cli.models.gguf.vocabulary import write_vocabulary_model

TEXTS = [
    ("def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"),
    ("x = [", "]"),
    ("", "after"),
    ("before", ""),
    ("same", "same"),
    ("[PREFIX] inside", "[SUFFIX] </s>"),
]
FAMILIES = {
    "qwen2": ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "starcoder": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "refact": ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "deepseek-coder": (
        "<\uff5cfim▁begin\uff5c>",
        "<\uff5cfim▁hole\uff5c>",
        "<\uff5cfim▁end\uff5c>",
    ),
}


@pytest.fixture(scope="module", params=["llama.cpp", "ctransformers"])
def codestral(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GGUF, Session]]:
    """A model with the vocabulary of Codestral."""
    path = write_mistral(tmp_path_factory.mktemp("codestral") / "v3.gguf", "v3")
    model = read_gguf(path)
    with ExitStack() as stack:
        yield model, stack.enter_context(open_tokenizer(backend(request.param), model))


@pytest.mark.parametrize(("before", "after"), TEXTS)
def test_codestral_has_the_ids_of_mistral_common(
    codestral: tuple[GGUF, Session], before: str, after: str
) -> None:
    model, session = codestral
    expected = MistralTokenizer.v3().encode_fim(FIMRequest(prompt=before, suffix=after)).tokens
    ids = tokenize_segments(render_infill(before, after, model), model, session.tokenize)
    assert list(ids) == expected


@pytest.fixture(scope="module")
def models(real_files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, GGUF]:
    """A model with the vocabulary of each family; Qwen's is older than its coders."""
    folder = tmp_path_factory.mktemp("infill")
    models = {"qwen2": read_gguf(write_coder(folder / "qwen2.gguf", real_files, ["a", "b"]))}
    for family in FAMILIES.keys() - models.keys():
        path = folder / f"{family}.gguf"
        write_vocabulary_model(reread_gguf(real_files / f"ggml-vocab-{family}.gguf"), path)
        models[family] = read_gguf(path)
    return models


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_of_other_families_surround_the_texts(
    family: str, models: dict[str, GGUF]
) -> None:
    model = models[family]
    infill = find_infill_format(model)
    assert infill
    ids = (infill.before, infill.after, infill.middle)
    assert tuple(token_text(model, token) for token in ids) == FAMILIES[family]
    segments = [each for each in render_infill("before", "after", model) if each != model.bos_id]
    assert segments == [infill.before, "before", infill.after, "after", infill.middle]


def test_the_metadata_of_a_file_decides_before_the_texts_do(models: dict[str, GGUF]) -> None:
    model = models["qwen2"]
    named = {"fim_pre_token_id": 11, "fim_suf_token_id": 12, "fim_mid_token_id": 13}
    metadata = {**model.metadata, **{f"tokenizer.ggml.{key}": id for key, id in named.items()}}
    infill = find_infill_format(replace(model, metadata=metadata))
    assert infill
    assert (infill.before, infill.after, infill.middle) == (11, 12, 13)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_cannot_become_one_of_these_tokens(family: str, models: dict[str, GGUF]) -> None:
    model, hostile = models[family], "".join(FAMILIES[family])
    with open_tokenizer(backend("llama.cpp"), model) as session:
        segments = render_infill(hostile, hostile, model)
        ids = tokenize_segments(segments, model, session.tokenize)
    infill: Any = find_infill_format(model)
    for token in (infill.before, infill.after, infill.middle):
        assert ids.count(token) == 1


def test_a_model_without_these_tokens_is_refused(mistral: Path) -> None:
    model = read_gguf(mistral)
    assert find_infill_format(model) is None
    with pytest.raises(ModelUnusable, match="has no tokens for fill-in-the-middle"):
        render_infill("before", "after", model)
