"""The frozen network that an adapter is trained with, built from a GGUF's own weights.

An adapter fits the weights that it was trained on, so these are the weights that the engine will
run, neither the unquantized ones nor another quantization. If memory is short, matrices stay in
their quantized blocks and are dequantized for each use; the numbers are the same. With --base the
weights come from Hugging Face instead, whole or in 4 bits (QLoRA).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mistral_cli.errors import ModelUnusable, first_line
from mistral_cli.finetune.dequantize import READABLE, dequantize
from mistral_cli.finetune.tensors import MODULES, layer_modules, rotated_heads
from mistral_cli.system.machine import usable_cores

if TYPE_CHECKING:
    from mistral_cli.finetune.plan import TrainingPlan
    from mistral_cli.finetune.strategy import MemoryStrategy
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.models.gguf import Tensor as Stored

_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_BASE_HINT = "Give --base the repository or folder of the model that the GGUF was made from."


def load_network(plan: TrainingPlan, strategy: MemoryStrategy, base: Path | None) -> Any:
    """The network of the GGUF, or of the folder `base`. Raises ModelUnusable."""
    torch.set_num_threads(usable_cores())
    dtype = compute_dtype(strategy)
    if base:
        return network_from_hugging_face(
            base, plan.model, dtype, strategy.device, nf4=plan.options.nf4
        )
    return network_from_gguf(plan.model, dtype, strategy.device, packed=strategy.packed)


def compute_dtype(strategy: MemoryStrategy) -> torch.dtype:
    """The type that the frozen weights compute in: GPUs before Ampere have no bfloat16."""
    if strategy.device != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16


# --- from Hugging Face -------------------------------------------------------------------------


def network_from_hugging_face(
    folder: Path, model: GGUF, dtype: torch.dtype, device: str, *, nf4: bool
) -> Any:
    """The network in `folder`, which must have the shape of `model`.

    `nf4` quantizes as the QLoRA paper does (Dettmers et al. 2023, arXiv:2305.14314). Raises
    ModelUnusable.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device},
            quantization_config=quantization if nf4 else None,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelUnusable(
            f"{folder} cannot be loaded: {first_line(error)}", hint=_BASE_HINT
        ) from error
    _check_shapes(network, model, folder)
    return network


def _check_shapes(network: Any, model: GGUF, folder: Path) -> None:
    """Check before training, which takes hours, that the adapter will fit `model`."""
    layers: Any = getattr(getattr(network, "model", None), "layers", ())
    expected = layer_modules(model)
    same = len(layers) == model.block_count and all(
        (module := layers[0].get_submodule(name))
        and (module.in_features, module.out_features) == expected[name.rpartition(".")[2]]
        for name in MODULES
    )
    if not same or network.config.vocab_size < len(model.tokens):
        raise ModelUnusable(f"{folder} has another shape than {model.path.name}", hint=_BASE_HINT)


# --- from a GGUF -------------------------------------------------------------------------------


def network_from_gguf(model: GGUF, dtype: torch.dtype, device: str, *, packed: bool) -> nn.Module:
    """The network of `model`, of the architecture llama, as a transformers model.

    With `packed`, matrices of the types in `dequantize.READABLE` stay quantized.
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
    """Reads the tensors of `model` from its mapped file."""

    def __init__(self, model: GGUF, dtype: torch.dtype, device: str, *, packed: bool) -> None:
        self._model, self._dtype, self._device, self._packed = model, dtype, device, packed
        self._tensors = {tensor.name: tensor for tensor in model.tensors}

    def parameter(self, name: str) -> nn.Parameter:
        """The tensor `name` as floats."""
        values = self._floats(self._tensors[name]).to(self._dtype).to(self._device)
        return nn.Parameter(values, requires_grad=False)

    def linear(self, name: str) -> nn.Linear:
        """The matrix `name` as a layer, its rows in transformers' order."""
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
        """The table `name` of the tokens' vectors."""
        stored = self._tensors[name]
        if self._packed and stored.type_name in READABLE:
            return PackedEmbedding(self._bytes(stored), stored, self._dtype, self._device)
        table = nn.Embedding(stored.shape[1], stored.shape[0], device="meta")
        table.weight = self.parameter(name)
        return table

    def _bytes(self, stored: Stored) -> Tensor:
        rows = stored.elements // stored.shape[0]
        shape = (rows, stored.size // rows)
        # Copy-on-write, although nothing writes to it: torch has no read-only memory.
        mapped = np.memmap(self._model.file_of(stored), np.uint8, "c", stored.offset, shape)
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
        """The order that transformers needs of the rows of queries and keys, else None.

        When it rotates them, it pairs dimension i of a head with i + half; ggml pairs 2i with
        2i + 1.
        """
        heads = rotated_heads(self._model, name)
        if heads is None:
            return None
        return torch.arange(rows).reshape(heads, -1, 2).transpose(1, 2).reshape(-1)


class PackedLinear(nn.Linear):
    """A frozen matrix in its quantized blocks, dequantized for each product."""

    def __init__(self, blocks: Tensor, stored: Stored, device: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = stored.shape
        self.type_name = stored.type_name
        self.bias = None
        self.weight = nn.Parameter(blocks.to(device), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs` times the dequantized matrix."""
        return _Product.apply(inputs, self.weight, self.type_name)


class _Product(torch.autograd.Function):
    """Keeps the blocks for the backward pass: the matrix would be eight times as large."""

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
    """A frozen table of vectors in quantized blocks; only the rows used are dequantized."""

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
