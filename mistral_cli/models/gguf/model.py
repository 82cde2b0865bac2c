"""The checked header of a GGUF file, and the facts about the model that it contains."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mistral_cli.models.gguf.control_tokens import find_control_tokens
from mistral_cli.models.gguf.types import (
    FILE_TYPES,
    SCALARS,
    STRING,
    TENSOR_TYPES,
    UINT64,
)

# BPE vocabularies for which llama.cpp adds BOS by default (`llama-vocab.cpp`).
_BOS_BY_DEFAULT = {
    *("chameleon", "falcon-h1", "falcon3", "jina-v5-nano", "lfm2", "llama-bpe", "llama-v3"),
    *("llama3", "midm-2.0", "pixtral", "tekken"),
}

MAX_TEMPLATE_BYTES = 1 << 17
"""More than any chat template has: the longest of 67 that llama.cpp keeps for tests has 16,738."""


@dataclass(frozen=True)
class Array:
    """An array in the metadata, decoded on demand: vocabularies are large."""

    item_type: int
    count: int
    data: bytes = field(repr=False)

    def numbers(self) -> tuple[Any, ...]:
        """Return the items of an array of numbers or booleans."""
        return struct.unpack(f"<{self.count}{SCALARS[self.item_type].format[-1]}", self.data)

    def strings(self) -> list[bytes]:
        """Return the items of an array of strings."""
        items, position, length_at = [], 0, SCALARS[UINT64].unpack_from
        for _ in range(self.count):
            start = position + 8
            position = start + length_at(self.data, position)[0]
            items.append(self.data[start:position])
        return items


@dataclass(frozen=True)
class Tensor:
    """One tensor. `shape` is in ggml's order (row length first); `size` is in bytes.

    `offset` counts bytes from the start of its file: of the part with that index in `GGUF.files`.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int
    part: int = 0

    @property
    def type_name(self) -> str:
        """The ggml type, such as `Q4_K`; its number if it is newer than this program."""
        return TENSOR_TYPES[self.type][0] if self.type in TENSOR_TYPES else str(self.type)

    @property
    def block_bytes(self) -> int:
        """The size in bytes of a block of weights, which share scales; of a type that we know."""
        return TENSOR_TYPES[self.type][2]

    @property
    def elements(self) -> int:
        """The number of weights in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class GGUF:
    """The checked header of a model, as `read_gguf` returns it: of one file, or of several parts.

    `metadata` contains numbers, booleans, text and `Array`s. `entries` contains the bytes of each
    metadata entry in the file (key, type, value), so that they can be copied unchanged.
    `path` is the file, or the first part, and `file_size` the bytes of all parts.
    """

    path: Path
    version: int
    metadata: Mapping[str, object] = field(repr=False)
    entries: Mapping[str, bytes] = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)
    file_size: int
    other_parts: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the model: one, or all its parts in order."""
        return (self.path, *self.other_parts)

    def file_of(self, tensor: Tensor) -> Path:
        """Return the file that has the data of `tensor`."""
        return self.files[tensor.part]

    def tensors_by_file(self) -> list[tuple[Path, list[Tensor]]]:
        """Return each file of the model with its tensors."""
        return [
            (path, [tensor for tensor in self.tensors if tensor.part == number])
            for number, path in enumerate(self.files)
        ]

    def stored_type(self, key: str) -> int:
        """Return the GGUF type of a metadata entry: it follows the key and its 8-byte length."""
        return self.entries[key][8 + len(key.encode())]

    @property
    def alignment(self) -> int:
        """The alignment of the tensors' data in bytes."""
        alignment = self.metadata.get("general.alignment", 32)
        assert isinstance(alignment, int)
        return alignment

    @property
    def architecture(self) -> str:
        """The kind of network, such as `llama` (the architecture of Mistral 7B)."""
        return str(self.metadata["general.architecture"])

    @property
    def name(self) -> str | None:
        """The model's name, as its author wrote it."""
        name = self.metadata.get("general.name")
        return None if name is None else str(name)

    def hparam(self, key: str, default: Any = None) -> Any:
        """Return the value of `<architecture>.<key>`, an array of numbers as a tuple."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        return value.numbers() if isinstance(value, Array) and value.item_type != STRING else value

    def per_layer(self, key: str, default: Any = None) -> tuple[int, ...]:
        """Return one value per layer of a hyperparameter that may be a single number."""
        value = self.hparam(key, default)
        return value if isinstance(value, tuple) else (value,) * self.block_count

    @property
    def context_length(self) -> int:
        """The context length that the model was trained with, in tokens."""
        return int(self.hparam("context_length"))

    @property
    def block_count(self) -> int:
        """The number of layers."""
        return int(self.hparam("block_count"))

    @property
    def parameters(self) -> int:
        """The number of weights in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quantization(self) -> str:
        """The file's quantization as llama.cpp names it, such as `Q4_K_M`."""
        declared = FILE_TYPES.get(self.metadata.get("general.file_type"))
        if declared:
            return declared
        bytes_by_type: Counter[int] = Counter()
        for tensor in self.tensors:
            bytes_by_type[tensor.type] += tensor.size
        [(most, _)] = bytes_by_type.most_common(1)
        return TENSOR_TYPES[most][0] if most in TENSOR_TYPES else f"unknown (tensor type {most})"

    @property
    def unknown_types(self) -> tuple[int, ...]:
        """The tensor types in the file that are newer than this program."""
        return tuple(sorted({each.type for each in self.tensors} - TENSOR_TYPES.keys()))

    @property
    def head_sizes(self) -> tuple[int, int]:
        """The length of the key and of the value of one attention head."""
        heads = max(self.per_layer("attention.head_count"))
        default = self.hparam("embedding_length") // heads if heads else 0  # Mamba has none
        return (
            self.hparam("attention.key_length", default),
            self.hparam("attention.value_length", default),
        )

    @property
    def kv_heads(self) -> tuple[int, ...]:
        """The number of key and value heads of each layer."""
        return self.per_layer("attention.head_count_kv", self.hparam("attention.head_count"))

    def kv_bytes(self, context_length: int) -> int:
        """Return the size in bytes of an F16 KV cache of `context_length` tokens."""
        return 2 * context_length * sum(self.kv_heads) * sum(self.head_sizes)

    @cached_property
    def tokens(self) -> Sequence[bytes]:
        """The vocabulary as stored: text with `▁` for "llama", GPT-2's byte alphabet for "gpt2"."""
        tokens = self.metadata["tokenizer.ggml.tokens"]
        assert isinstance(tokens, Array)
        return tokens.strings()

    @cached_property
    def longest_token(self) -> int:
        """The bytes of the longest token as stored, at least as many as the text it stands for."""
        return max(map(len, self.tokens), default=1)

    @cached_property
    def token_types(self) -> Sequence[int] | None:
        """The kind of each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte."""
        types = self.metadata.get("tokenizer.ggml.token_type")
        return types.numbers() if isinstance(types, Array) else None

    @cached_property
    def control_tokens(self) -> Mapping[str, int]:
        """The ids of the control tokens, such as `</s>` or `[INST]`, by their text.

        A text from a user must never be encoded as one of them.
        """
        special = (
            value
            for key, value in self.metadata.items()
            if key.startswith("tokenizer.ggml.") and key.endswith("_token_id")
        )
        return find_control_tokens(
            self.tokens,
            self.token_types or (),
            (self.chat_template or "").encode("utf-8", "replace")[:MAX_TEMPLATE_BYTES],
            [token for token in special if isinstance(token, int)],
        )

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The ids of the control tokens."""
        return frozenset(self.control_tokens.values())

    @property
    def tokenizer_model(self) -> str:
        """The tokenizer's algorithm: `llama` (SentencePiece), `gpt2` (byte-level BPE), …"""
        return str(self.metadata["tokenizer.ggml.model"])

    def token_id(self, role: str) -> int | None:
        """Return the id of a special token: "bos", "eos", "eot", "unknown", "padding", …"""
        value = self.metadata.get(f"tokenizer.ggml.{role}_token_id")
        return value if isinstance(value, int) else None

    @property
    def bos_id(self) -> int | None:
        """The id of the token that starts a text."""
        return self.token_id("bos")

    @property
    def eos_id(self) -> int | None:
        """The id of the token that ends a text."""
        return self.token_id("eos")

    @property
    def eot_id(self) -> int | None:
        """The id of the token that ends a turn of a conversation, if it is not `eos_id`."""
        return self.token_id("eot")

    @property
    def adds_bos(self) -> bool:
        """True if a text must start with `bos_id`; llama.cpp's default if the file does not say."""
        default = (
            self.tokenizer_model == "llama"
            or self.metadata.get("tokenizer.ggml.pre") in _BOS_BY_DEFAULT
        )
        return bool(self.metadata.get("tokenizer.ggml.add_bos_token", default))

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that renders a conversation."""
        template = self.metadata.get("tokenizer.chat_template")
        return None if template is None else str(template)

    def spelled(self, token: int) -> bytes | None:  # noqa: ARG002
        """Return the bytes of `token` if they are known without the vocabulary, else None."""
        return None
