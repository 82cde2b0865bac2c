"""Writes the vocabulary of a model as a tiny model, whose tokenizer opens in milliseconds."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.models.gguf.types import FLOAT32, STRING, TENSOR_TYPES, UINT32

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

_VERSION = 3
_ALIGNMENT = 32
_WIDTH = 32  # the smallest width that the blocks and the attention of both engines allow
_F32, _Q4_0 = 0, 2

_HYPERPARAMETERS = {
    "context_length": 512,
    "embedding_length": _WIDTH,
    "block_count": 1,
    "feed_forward_length": _WIDTH,
    "rope.dimension_count": _WIDTH,
    "attention.head_count": 1,
    "attention.head_count_kv": 1,
}
_NORMS = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def write_vocabulary_model(model: GGUF, destination: Path) -> None:
    """Write to `destination` a one-layer GGUF of zero weights with the tokenizer of `model`.

    Only the engine's own tokenizer splits text exactly as that engine does, but opening the real
    file maps the weights with MAP_POPULATE and so reads gigabytes. This file has the same
    `tokenizer.*` entries, byte for byte (except chat templates), and opens in every engine that
    opens the original. Its weights are a hole in the file, which takes no space on most disks.

    Raises `OSError` if the file cannot be written.
    """
    entries = [_text("general.architecture", "llama")]
    entries += [_number(f"llama.{key}", value) for key, value in _HYPERPARAMETERS.items()]
    entries.append(_real("llama.attention.layer_norm_rms_epsilon", 1e-5))
    entries += [
        entry
        for key, entry in model.entries.items()
        if key.startswith("tokenizer.") and not key.startswith("tokenizer.chat_template")
    ]
    tensors, weight_bytes = _describe_tensors(len(model.tokens))
    counts = struct.pack("<4sIQQ", b"GGUF", _VERSION, len(tensors), len(entries))
    header = b"".join([counts, *entries, *tensors])
    with destination.open("wb") as file:
        file.write(header)
        file.truncate(_aligned(len(header)) + weight_bytes)


def _describe_tensors(vocabulary: int) -> tuple[list[bytes], int]:
    """Return the descriptions of all tensors, and the size of their data in bytes."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (_WIDTH, vocabulary),
        "output": (_WIDTH, vocabulary),
    }
    shapes |= {f"blk.0.{name}": (_WIDTH, _WIDTH) for name in _MATRICES}
    shapes |= dict.fromkeys(_NORMS, (_WIDTH,))
    descriptions, offset = [], 0
    for name, shape in shapes.items():
        kind = _F32 if len(shape) == 1 else _Q4_0
        _, block, block_bytes = TENSOR_TYPES[kind]
        layout = f"<I{len(shape)}QIQ"
        description = struct.pack(layout, len(shape), *shape, kind, offset)
        descriptions.append(_string(f"{name}.weight") + description)
        offset = _aligned(offset + math.prod(shape) // block * block_bytes)
    return descriptions, offset


def _aligned(size: int) -> int:
    return size + -size % _ALIGNMENT


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", STRING) + _string(value)


def _number(key: str, value: int) -> bytes:
    return _string(key) + struct.pack("<II", UINT32, value)


def _real(key: str, value: float) -> bytes:
    return _string(key) + struct.pack("<If", FLOAT32, value)
