"""`models.gguf.kinds`: files that are not language models are named for what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts, assert_refused, entry, number, text, words

from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.kinds import models_among

Change = Callable[[GGUFParts], object]


def as_architecture(name: str) -> Change:
    """Rename the architecture, in the keys too."""

    def change(parts: GGUFParts) -> None:
        old = list(parts.entries.items())
        parts.entries = {}
        for key, raw in old:
            other = key.replace("llama.", f"{name}.", 1) if key.startswith("llama.") else key
            parts.entries[other] = text(other) + raw[8 + len(key) :]
        parts.put(words("general.architecture", name))

    return change


def only_predictors(parts: GGUFParts) -> None:
    parts.tensors = [replace(t, name=t.name.replace("blk.0.", "blk.9.")) for t in parts.tensors]
    parts.tensors = [t for t in parts.tensors if not t.name.startswith("blk.1.")]
    parts.change("blk.9.attn_norm.weight", name="blk.9.nextn.enorm.weight")


KINDS: dict[str, tuple[Change, str, str]] = {
    "adapter": (lambda d: d.put(words("general.type", "adapter")), "a LoRA adapter", "--lora"),
    "projector": (lambda d: d.put(words("general.type", "mmproj")), "mmproj", "model itself"),
    "old projector": (as_architecture("clip"), "mmproj", "model itself"),
    "projector by its keys": (
        lambda d: d.put(entry("clip.has_vision_encoder", 7, b"\1")),
        "mmproj",
        "model itself",
    ),
    "imatrix": (lambda d: d.put(words("general.type", "imatrix")), "imatrix", "model itself"),
    "imatrix without a type": (
        lambda d: (
            d.entries.pop("general.architecture"),
            d.put(number("imatrix.chunk_count", 9)),
        ),
        "imatrix",
        "model itself",
    ),
    "vocabulary": (lambda d: d.put(words("general.type", "vocab")), "vocabulary", "model itself"),
    "no tensors": (lambda d: d.tensors.clear(), "vocabulary", "model itself"),
    "mean pooling": (
        lambda d: d.put(number("llama.pooling_type", 1)),
        "an embedding model",
        "instruct model",
    ),
    "last-token pooling": (
        lambda d: d.put(number("llama.pooling_type", 3)),
        "an embedding model",
        "instruct model",
    ),
    "rank pooling": (lambda d: d.put(number("llama.pooling_type", 4)), "reranker", "instruct"),
    "classifier by its keys": (
        lambda d: d.put(words("llama.classifier.activation", "nonsense")),
        "reranker or classifier",
        "instruct",
    ),
    "classifier": (
        lambda d: d.change("output.weight", name="cls.output.weight"),
        "reranker or classifier",
        "instruct model",
    ),
    "not causal": (
        lambda d: d.put(entry("llama.attention.causal", 7, b"\0")),
        "an encoder",
        "instruct model",
    ),
    "WordPiece": (
        lambda d: d.put(words("tokenizer.ggml.model", "bert")),
        "an embedding model",
        "instruct model",
    ),
    "Unigram": (
        lambda d: d.put(words("tokenizer.ggml.model", "t5")),
        "an embedding or encoder-decoder model",
        "instruct model",
    ),
    "no tokenizer": (
        lambda d: d.put(words("tokenizer.ggml.model", "no_vocab")),
        "a model without a tokenizer",
        "instruct model",
    ),
    "an unknown tokenizer": (
        lambda d: d.put(words("tokenizer.ggml.model", "tomorrow")),
        "the tokenizer 'tomorrow' .*, which this program does not know",
        "Update this program",
    ),
    "of stable-diffusion.cpp": (
        lambda d: (
            d.entries.clear(),
            d.change("output.weight", name="model.diffusion_model.out.2.weight"),
        ),
        "a model for images",
        "instruct model",
    ),
    "of stable-diffusion.cpp, with long names": (
        lambda d: (
            d.entries.clear(),
            d.change("output.weight", name="model.diffusion_model." + "x" * 64),
        ),
        "a model for images",
        "instruct model",
    ),
    "predicted layers only": (only_predictors, "a draft head", "model itself"),
    "split, its first part": (
        lambda d: (d.tensors.clear(), d.put(number("split.count", 3))),
        "one of 3 parts",
        "names",
    ),
    "split": (lambda d: d.put(number("split.count", 3)), "one of 3 parts", "names"),
    "unknown type": (lambda d: d.put(words("general.type", "odd")), "the GGUF type 'odd'", "GGUF"),
} | {
    name: (as_architecture(name), message, advice)
    for name, message, advice in (
        ("bert", "an embedding model", "instruct model"),
        ("nomic-bert-moe", "an embedding model", "instruct model"),
        ("gemma-embedding", "an embedding model", "instruct model"),
        ("t5encoder", "an encoder", "instruct model"),
        ("t5", "an encoder-decoder model", "instruct model"),
        ("llada", "a diffusion language model", "instruct model"),
        ("wavtokenizer-dec", "a speech model", "instruct model"),
        ("whisper", "a speech model", "instruct model"),
        ("qwen3tts", "a speech model", "instruct model"),
        ("flux", "a model for images", "instruct model"),
        ("krea2", "a model for images", "instruct model"),
        ("eagle3", "a draft head", "model itself"),
        ("gemma4-assistant", "a draft head", "model itself"),
    )
}


@pytest.mark.parametrize(("change", "message", "advice"), KINDS.values(), ids=KINDS.keys())
def test_names_the_kind_and_advises(
    change: Change, message: str, advice: str, tiny_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_file)
    change(parts)
    assert advice in assert_refused(tmp_path / "m.gguf", parts.build(), message)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.put(number("llama.pooling_type", 0)),
        lambda d: d.put(entry("llama.attention.causal", 7, b"\1")),
        lambda d: d.put(words("general.type", "model")),
        as_architecture("tomorrow"),  # for the engine to judge
    ],
    ids=["no pooling", "causal", "typed", "unknown architecture"],
)
def test_accepts_what_may_be_a_language_model(
    change: Change, tiny_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_file)
    change(parts)
    (tmp_path / "m.gguf").write_bytes(parts.build())
    read_gguf(tmp_path / "m.gguf")


def test_names_the_kind_of_a_file_whose_tensors_no_language_model_has(
    tiny_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_file)
    as_architecture("wan")(parts)
    parts.change("output.weight", shape=(1, 2, 2, 2, 2))
    assert_refused(tmp_path / "m.gguf", parts.build(), "a model for images or videos")


@pytest.mark.parametrize(
    ("names", "models"),
    [
        (["m-Q4_0.gguf", "mmproj-m-Q4_0.gguf", "M-mmproj-F16.gguf"], ["m-Q4_0.gguf"]),
        (["m-Q8_0.gguf", "mtp-m-Q8_0.gguf", "MTP/m-Q8_0-MTP.gguf"], ["m-Q8_0.gguf"]),
        (["m-Q4_0.gguf", "m-draft-Q4_0.gguf", "m-lora-F16.gguf"], ["m-Q4_0.gguf"]),
        (["m.imatrix.gguf", "m.gguf", "README.md", "eagle3-m.gguf"], ["m.gguf"]),
        (["M-DRAFT-0.5B-Q4_0.gguf"], ["M-DRAFT-0.5B-Q4_0.gguf"]),
        (["M-MTP-Q4_0.gguf"], ["M-MTP-Q4_0.gguf"]),
        (["mmproj-F16.gguf"], []),
        (
            ["Clipper-Q4_0.gguf", "Draftsman-Q4_0.gguf"],
            ["Clipper-Q4_0.gguf", "Draftsman-Q4_0.gguf"],
        ),
    ],
)
def test_finds_the_models_among_names(names: list[str], models: list[str]) -> None:
    assert models_among(names) == models
