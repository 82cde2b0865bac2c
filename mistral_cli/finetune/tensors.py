"""The matrices of a layer: their names in PEFT and in a GGUF, their shapes and their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF, Tensor

MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""The name of each matrix in PEFT → in a GGUF, both within a layer."""

# Of the types that `gguf.quants` cannot dequantize (0.19), those that llama.cpp can run.
_UNREADABLE = {"Q1_0", "Q2_0"}


def layer_modules(model: GGUF) -> dict[str, tuple[int, ...]]:
    """The shape of each matrix by the last part of its PEFT name, row length first."""
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    return {
        module.rpartition(".")[2]: shapes[f"blk.0.{name}.weight"]
        for module, name in MODULES.items()
    }


def rotated_heads(model: GGUF, name: str) -> int | None:
    """The number of attention heads in the tensor `name` if its rows are rotated, else None.

    ggml and transformers order the rows within such a head differently.
    """
    kind = name.split(".")[-2]
    if kind == "attn_q":
        return model.per_layer("attention.head_count")[0]
    return model.kv_heads[0] if kind == "attn_k" else None


def unreadable_type(model: GGUF) -> str | None:
    """Why the values of one of the model's tensors cannot be read, or None if all can be."""
    for tensor in model.tensors:
        if tensor.type in model.unknown_types:
            return f"this program does not know the tensor type {tensor.type} of {tensor.name!r}"
        if tensor.type_name in _UNREADABLE:
            return f"its tensor {tensor.name!r} has the type {tensor.type_name}"
    return None


def read_floats(path: Path, tensor: Tensor) -> NDArray[np.float32]:
    """The values of `tensor`, of any type, in the GGUF at `path`, as a matrix of its rows."""
    from gguf import GGMLQuantizationType, quants

    rows = tensor.elements // tensor.shape[0]
    raw = np.memmap(path, np.uint8, "r", tensor.offset, (rows, tensor.size // rows))
    values = quants.dequantize(raw, GGMLQuantizationType(tensor.type))
    return np.asarray(values, np.float32).reshape(tuple(reversed(tensor.shape)))
