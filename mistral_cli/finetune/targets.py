"""The matrices of a layer: what PEFT calls them, and where they are in a GGUF."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def layer_modules(model: GGUF) -> dict[str, tuple[int, ...]]:
    """The shape of each kind of matrix by the last part of its PEFT name, row length first."""
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    return {
        module.rpartition(".")[2]: shapes[f"blk.0.{name}.weight"]
        for module, name in MODULES.items()
    }


def rotated_heads(model: GGUF, name: str) -> int | None:
    """The number of heads that the rows of the tensor `name` are, where they are rotated.

    ggml and transformers order the rows within such a head differently.
    """
    kind = name.split(".")[-2]
    if kind == "attn_q":
        return model.per_layer("attention.head_count")[0]
    return model.kv_heads[0] if kind == "attn_k" else None
