"""The built-in models: their dimensions, and the size of each quantization, before a download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mistral_cli.models.gguf import GGUF, Array, Tensor
from mistral_cli.models.gguf.types import STRING


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The dimensions of a llama network and its tokenizer."""

    layers: int
    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    merges: int = 0
    has_output_weight: bool = True


@dataclass(frozen=True)
class BuiltInModel:
    """A file to download: `reference` is for `-m`, `size` in bytes."""

    reference: str
    quantization: str
    size: int
    dimensions: Dimensions

    def header(self) -> GGUF:
        """Return a header for memory estimates: the real total size, spread evenly over layers."""
        return _header(self)


MISTRAL_7B = Dimensions(
    layers=32, embedding=4096, feed_forward=14336, heads=32, kv_heads=8, vocabulary=32000
)
MISTRAL_7B_V03 = replace(MISTRAL_7B, vocabulary=32768)
SMOLLM2 = Dimensions(
    layers=30,
    embedding=576,
    feed_forward=1536,
    heads=9,
    kv_heads=3,
    vocabulary=49152,
    merges=48900,
    has_output_weight=False,
)

_V03 = "bartowski/Mistral-7B-Instruct-v0.3-GGUF"

# The sizes from public listings of these files, not from the hub itself.
_V03_SIZES: Mapping[str, int] = {
    "Q8_0": 7_702_565_088,
    "Q6_K": 5_947_248_864,
    "Q5_K_M": 5_136_175_328,
    "Q4_K_M": 4_372_812_000,
    "Q3_K_M": 3_522_941_152,
    "Q2_K": 2_722_877_664,
}
_Q4_K_M = 4_368_438_944

BUILT_IN: tuple[BuiltInModel, ...] = (
    *(
        BuiltInModel(
            "mistral-7b-v0.3" if name == "Q4_K_M" else f"{_V03}:{name}", name, size, MISTRAL_7B_V03
        )
        for name, size in _V03_SIZES.items()
    ),
    BuiltInModel("mistral-7b-v0.2", "Q4_K_M", _Q4_K_M, MISTRAL_7B),
    BuiltInModel("mistral", "Q4_K_M", _Q4_K_M, MISTRAL_7B),
    BuiltInModel("smollm2", "Q4_1", 98_362_432, SMOLLM2),
)
"""The models that a built-in alias names, newest first, and v0.3 in other quantizations."""


def find_built_in(reference: str) -> BuiltInModel | None:
    """Return the built-in model that `reference` names, or None."""
    same = {"mistral-7b-v0.1": "mistral"}.get(reference, reference)
    return next((entry for entry in BUILT_IN if entry.reference == same), None)


def _header(entry: BuiltInModel) -> GGUF:
    dims = entry.dimensions
    embeddings = dims.vocabulary * dims.embedding
    outside = embeddings * (2 if dims.has_output_weight else 1)
    head_size = dims.embedding // dims.heads
    layer = dims.embedding * (
        2 * dims.embedding + 2 * dims.kv_heads * head_size + 3 * dims.feed_forward
    )
    names = {"token_embd.weight": embeddings}
    if dims.has_output_weight:
        names["output.weight"] = embeddings
    names |= {f"blk.{index}.weight": layer for index in range(dims.layers)}
    total = outside + layer * dims.layers
    tensors = tuple(
        Tensor(name, (elements,), 0, 0, entry.size * elements // total)
        for name, elements in names.items()
    )
    return GGUF(Path(entry.reference), 3, _metadata(dims), {}, tensors, entry.size)


def _metadata(dims: Dimensions) -> Mapping[str, object]:
    return {
        "general.architecture": "llama",
        "llama.block_count": dims.layers,
        "llama.context_length": 8192,
        "llama.embedding_length": dims.embedding,
        "llama.feed_forward_length": dims.feed_forward,
        "llama.attention.head_count": dims.heads,
        "llama.attention.head_count_kv": dims.kv_heads,
        "tokenizer.ggml.tokens": Array(STRING, dims.vocabulary, b""),
        "tokenizer.ggml.merges": Array(STRING, dims.merges, b""),
    }
