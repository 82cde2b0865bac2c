"""The dimensions of a network, and the header for memory estimates that they amount to."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mistral_cli.models.gguf import GGUF, Array, Tensor
from mistral_cli.models.gguf.types import INT32, STRING


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The dimensions of a network and its tokenizer, as the model's `config.json` states them.

    `parameters` counts all weights. `head_size` is embedding ÷ heads unless given. `more` has
    further hyperparameters, by their names in a GGUF: what decides how much a layer caches.
    Of a mixture of experts, `expert_feed_forward` is the width of one expert.
    """

    architecture: str = "llama"
    parameters: int
    layers: int
    embedding: int
    feed_forward: int | Sequence[int]
    heads: int
    kv_heads: int | Sequence[int]
    head_size: int = 0
    vocabulary: int
    merges: int = 0
    context_length: int
    has_output_weight: bool = True
    experts: int = 0
    experts_used: int = 0
    expert_feed_forward: int = 0
    per_layer_embedding: int = 0
    more: Mapping[str, int | Sequence[int]] = field(default_factory=dict)

    def sized(
        self,
        parameters: int,
        layers: int,
        embedding: int,
        feed_forward: int | Sequence[int],
        **others: Any,
    ) -> Dimensions:
        """Return another size of this family of models; `others` replace more dimensions."""
        return replace(
            self,
            parameters=parameters,
            layers=layers,
            embedding=embedding,
            feed_forward=feed_forward,
            **others,
        )

    def header(self, name: str, size: int) -> GGUF:
        """Return a header with `size` bytes of weights, spread evenly over all parameters."""
        weights = self._weights()
        tensors = tuple(
            Tensor(tensor, (elements,), 0, 0, size * elements // self.parameters)
            for tensor, elements in weights.items()
        )
        return GGUF(Path(name), 3, self._metadata(), {}, tensors, size)

    def _weights(self) -> dict[str, int]:
        """The number of weights by tensor: those outside of the layers, and the rest per layer."""
        embeddings = self.vocabulary * self.embedding
        experts = 3 * self.embedding * self.expert_feed_forward * self.experts
        weights = {"token_embd.weight": embeddings}
        if self.has_output_weight:
            weights["output.weight"] = embeddings
        if self.per_layer_embedding:
            every_layer = self.per_layer_embedding * self.layers
            weights["per_layer_token_embd.weight"] = self.vocabulary * every_layer
        layer = (self.parameters - sum(weights.values())) // self.layers - experts
        for index in range(self.layers):
            weights[f"blk.{index}.weight"] = layer
            if experts:
                weights[f"blk.{index}.ffn_exps.weight"] = experts
        return weights

    def _metadata(self) -> Mapping[str, object]:
        hparams = {
            "block_count": self.layers,
            "context_length": self.context_length,
            "embedding_length": self.embedding,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "expert_count": self.experts,
            "expert_used_count": self.experts_used,
            **self.more,
        }
        if self.head_size:
            hparams |= dict.fromkeys(
                ("attention.key_length", "attention.value_length"), self.head_size
            )
        return {
            "general.architecture": self.architecture,
            **{f"{self.architecture}.{key}": _value(value) for key, value in hparams.items()},
            "tokenizer.ggml.tokens": Array(STRING, self.vocabulary, b""),
            "tokenizer.ggml.merges": Array(STRING, self.merges, b""),
        }


def _value(value: int | Sequence[int]) -> int | Array:
    """Return a number, or one per layer as a GGUF stores it."""
    if isinstance(value, int):
        return value
    return Array(INT32, len(value), struct.pack(f"<{len(value)}i", *value))
