"""A GGUF → the network to train beside: its own weights, frozen.

An adapter belongs to the weights it was trained on, so they are those that the engine will run,
not the unquantized ones nor another quantization. Where memory is short, matrices stay in their
blocks and are unpacked anew each time they are used; the numbers are the same.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mistral_cli.finetune.dequantize import READABLE, dequantize
from mistral_cli.finetune.targets import MODULES, rotated_heads

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf import Tensor as Stored

_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def load_network(model: GGUF, dtype: torch.dtype, device: str, *, packed: bool) -> nn.Module:
    """The network of `model`, of the architecture llama, in transformers' terms.

    With `packed`, matrices stay quantized where `blocks` can read their type.
    """
    from transformers import LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = _config(model)
    with torch.device("meta"):
        network = LlamaForCausalLM(config)
    source = _Weights(model, dtype, device, packed=packed)
    network.model.rotary_emb = LlamaRotaryEmbedding(config=config).to(device)
    network.model.norm.weight = source.parameter("output_norm.weight")
    for index, layer in enumerate(network.model.layers):
        for module, name in _NORMS.items():
            layer.get_submodule(module).weight = source.parameter(f"blk.{index}.{name}.weight")
        for module, name in MODULES.items():
            layer.set_submodule(module, source.linear(f"blk.{index}.{name}.weight"))
    # Dense: the trainer multiplies by it itself.
    if config.tie_word_embeddings:
        network.lm_head.weight = source.parameter("token_embd.weight")
        network.model.embed_tokens.weight = network.lm_head.weight
    else:
        network.lm_head.weight = source.parameter("output.weight")
        network.model.embed_tokens = source.embedding("token_embd.weight")
    config.dtype = dtype
    return network.eval()


def _config(model: GGUF) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(model.tokens),
        hidden_size=model.hparam("embedding_length"),
        intermediate_size=model.per_layer("feed_forward_length")[0],
        num_hidden_layers=model.block_count,
        num_attention_heads=model.per_layer("attention.head_count")[0],
        num_key_value_heads=model.kv_heads[0],
        head_dim=model.head_sizes[0],
        max_position_embeddings=model.context_length,
        rms_norm_eps=model.hparam("attention.layer_norm_rms_epsilon"),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": model.hparam("rope.freq_base", 10000.0),
        },
        tie_word_embeddings=all(tensor.name != "output.weight" for tensor in model.tensors),
        bos_token_id=model.bos_id,
        eos_token_id=model.eos_id,
        attn_implementation="sdpa",
    )


class _Weights:
    """Takes the tensors of `model` out of its mapped file."""

    def __init__(self, model: GGUF, dtype: torch.dtype, device: str, *, packed: bool) -> None:
        self._model, self._dtype, self._device, self._packed = model, dtype, device, packed
        self._tensors = {tensor.name: tensor for tensor in model.tensors}

    def parameter(self, name: str) -> nn.Parameter:
        """A tensor as floats."""
        values = self._floats(self._tensors[name]).to(self._dtype).to(self._device)
        return nn.Parameter(values, requires_grad=False)

    def linear(self, name: str) -> nn.Linear:
        """A matrix to multiply with, its rows in transformers' order."""
        stored = self._tensors[name]
        order = self._row_order(name, stored.shape[1])
        if self._packed and stored.type_name in READABLE:
            blocks = self._bytes(stored)
            return PackedLinear(blocks if order is None else blocks[order], stored, self._device)
        values = self._floats(stored)
        dense = nn.Linear(*stored.shape, bias=False, device="meta")
        values = (values if order is None else values[order]).to(self._dtype)
        dense.weight = nn.Parameter(values.to(self._device), requires_grad=False)
        return dense

    def embedding(self, name: str) -> nn.Embedding:
        """The vectors of the tokens."""
        stored = self._tensors[name]
        if self._packed and stored.type_name in READABLE:
            return PackedEmbedding(self._bytes(stored), stored, self._dtype, self._device)
        table = nn.Embedding(stored.shape[1], stored.shape[0], device="meta")
        table.weight = self.parameter(name)
        return table

    def _bytes(self, stored: Stored) -> Tensor:
        rows = stored.elements // stored.shape[0]
        shape = (rows, stored.size // rows)
        # Copy-on-write, though nobody writes: torch does not know read-only memory.
        mapped = np.memmap(self._model.path, np.uint8, "c", stored.offset, shape)
        return torch.from_numpy(mapped)

    def _floats(self, stored: Stored) -> Tensor:
        blocks = self._bytes(stored)
        if stored.type_name in READABLE:
            values = dequantize(blocks, stored.type_name)
        else:
            from gguf import GGMLQuantizationType, quants

            with warnings.catch_warnings(action="ignore"):
                kind = GGMLQuantizationType(stored.type)
                values = torch.from_numpy(quants.dequantize(blocks.numpy(), kind))
        return values.reshape(tuple(reversed(stored.shape)))

    def _row_order(self, name: str, rows: int) -> Tensor | None:
        """The rows of queries and keys as transformers rotates them.

        It pairs dimension i of a head with i + half, ggml 2i with 2i + 1.
        """
        heads = rotated_heads(self._model, name)
        if heads is None:
            return None
        return torch.arange(rows).reshape(heads, -1, 2).transpose(1, 2).reshape(-1)


class PackedLinear(nn.Linear):
    """A frozen matrix in its quantized blocks, unpacked for each product."""

    def __init__(self, blocks: Tensor, stored: Stored, device: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = stored.shape
        self.type_name = stored.type_name
        self.bias = None
        self.weight = nn.Parameter(blocks.to(device), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs` times the unpacked matrix."""
        return _Product.apply(inputs, self.weight, self.type_name)


class _Product(torch.autograd.Function):
    """Keeps the blocks for the way back instead of the matrix, which is eight times as large."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, blocks: Tensor, type_name: str) -> Tensor:
        context.save_for_backward(blocks)
        context.type_name = type_name
        return inputs @ dequantize(blocks, type_name).to(inputs.dtype).T

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (blocks,) = context.saved_tensors
        return gradient @ dequantize(blocks, context.type_name).to(gradient.dtype), None, None


class PackedEmbedding(nn.Embedding):
    """A frozen table of vectors in quantized blocks; only the rows asked for are unpacked."""

    def __init__(self, blocks: Tensor, stored: Stored, dtype: torch.dtype, device: str) -> None:
        nn.Module.__init__(self)
        self.embedding_dim, self.num_embeddings = stored.shape
        self.type_name, self.dtype = stored.type_name, dtype
        self.padding_idx = None
        self.weight = nn.Parameter(blocks.to(device), requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """The vectors of `tokens`."""
        rows = dequantize(self.weight[tokens.reshape(-1)], self.type_name)
        return rows.to(self.dtype).reshape(*tokens.shape, self.embedding_dim)
