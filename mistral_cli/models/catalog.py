"""What is known of the built-in models before they are here: shape, and size by quantization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.models.gguf import GGUF, Array, Tensor
from mistral_cli.models.gguf.types import STRING


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a llama network, with as many entries in its tokenizer's tables."""

    layers: int
    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    merges: int = 0
    own_output: bool = True


@dataclass(frozen=True)
class BuiltIn:
    """A file that can be had: `reference` is for `-m`, `size` in bytes."""

    reference: str
    quantization: str
    size: int
    shape: ModelShape

    def header(self) -> GGUF:
        """A header for reckoning with: real sizes in sum, spread evenly over the layers."""
        return _header(self)


MISTRAL_7B = ModelShape(32, 4096, 14336, 32, 8, 32000)
MISTRAL_7B_V03 = ModelShape(32, 4096, 14336, 32, 8, 32768)
SMOLLM2 = ModelShape(30, 576, 1536, 9, 3, 49152, merges=48900, own_output=False)

_V03 = "bartowski/Mistral-7B-Instruct-v0.3-GGUF"

# The sizes as public listings of these files give them; not read from the hub itself.
_V03_SIZES: Mapping[str, int] = {
    "Q8_0": 7_702_565_088,
    "Q6_K": 5_947_248_864,
    "Q5_K_M": 5_136_175_328,
    "Q4_K_M": 4_372_812_000,
    "Q3_K_M": 3_522_941_152,
    "Q2_K": 2_722_877_664,
}
_Q4_K_M = 4_368_438_944

BUILT_IN: tuple[BuiltIn, ...] = (
    *(
        BuiltIn(
            "mistral-7b-v0.3" if name == "Q4_K_M" else f"{_V03}:{name}", name, size, MISTRAL_7B_V03
        )
        for name, size in _V03_SIZES.items()
    ),
    BuiltIn("mistral-7b-v0.2", "Q4_K_M", _Q4_K_M, MISTRAL_7B),
    BuiltIn("mistral", "Q4_K_M", _Q4_K_M, MISTRAL_7B),
    BuiltIn("smollm2", "Q4_1", 98_362_432, SMOLLM2),
)
"""The models that an alias names, newest first, and v0.3 in other quantizations."""


def find_built_in(reference: str) -> BuiltIn | None:
    """The built-in model that `reference` names."""
    same = {"mistral-7b-v0.1": "mistral"}.get(reference, reference)
    return next((entry for entry in BUILT_IN if entry.reference == same), None)


def _header(entry: BuiltIn) -> GGUF:
    shape = entry.shape
    embeddings = shape.vocabulary * shape.embedding
    outside = embeddings * (2 if shape.own_output else 1)
    head = shape.embedding // shape.heads
    layer = shape.embedding * (
        2 * shape.embedding + 2 * shape.kv_heads * head + 3 * shape.feed_forward
    )
    names = {"token_embd.weight": embeddings}
    if shape.own_output:
        names["output.weight"] = embeddings
    names |= {f"blk.{index}.weight": layer for index in range(shape.layers)}
    total = outside + layer * shape.layers
    tensors = tuple(
        Tensor(name, (elements,), 0, 0, entry.size * elements // total)
        for name, elements in names.items()
    )
    return GGUF(Path(entry.reference), 3, _metadata(shape), {}, tensors, entry.size)


def _metadata(shape: ModelShape) -> Mapping[str, object]:
    return {
        "general.architecture": "llama",
        "llama.block_count": shape.layers,
        "llama.context_length": 8192,
        "llama.embedding_length": shape.embedding,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "tokenizer.ggml.tokens": Array(STRING, shape.vocabulary, b""),
        "tokenizer.ggml.merges": Array(STRING, shape.merges, b""),
    }
