"""How much memory a model takes, from the header of its file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mistral_cli.engines.hardware.kv_cache import cache_of_layers
from mistral_cli.models.gguf import GGUF, Array, Tensor

CPU_BATCH, GPU_BATCH = 128, 512
"""Prompt tokens that llama.cpp evaluates at once, without and with a GPU.

Measured on 2 cores, tokens of prefill a second in batches of 64, 128, 256 and 512: a model with
Mistral 7B's dimensions 21.1, 22.3, 22.5, 20.8; SmolLM2 in a prompt of 3,000: 247, 286, 307, 303.
Between batches llama.cpp reports progress and a request can be stopped: every 6 s on the former.
"""

CPU_BATCH_IN_2023 = 32
"""The same without a GPU, in ctransformers."""

_F16, _F32 = 2, 4
_ENGINE = 14 * 2**20
_TABLE_ENTRY = 280
_GRAPH_IN_2023 = 1441 * 1024

_REPACKED, _ROWS = ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4"), 8
_LAYER = re.compile(r"blk\.(\d+)\.")
_EMBEDDINGS, _EXPERTS = "token_embd.weight", "_exps."
_LOOKED_UP = "per_layer_token_embd.weight"


def batch_of(gpu_layers: int) -> int:
    """Prompt tokens that llama.cpp evaluates at once, with so many layers on a GPU."""
    return GPU_BATCH if gpu_layers > 0 else CPU_BATCH


@dataclass(frozen=True)
class Memory:
    """The memory that an open model takes, in bytes.

    `weights_ram`, `weights_gpu`, `kv_ram` and `kv_gpu` lie where their layers are computed.
    `compute` holds the intermediate results of a batch, once on each side that computes.
    `engine` is the library's code and its tables of the vocabulary. `dequantized` are the
    copies of weights that a GPU library allocates.
    """

    weights_ram: int
    weights_gpu: int
    kv_ram: int
    kv_gpu: int
    compute: int
    engine: int
    dequantized: int = 0

    @property
    def ram(self) -> int:
        """Main memory, in bytes."""
        return self.weights_ram + self.kv_ram + self.compute + self.engine

    @property
    def gpu(self) -> int:
        """GPU memory, in bytes, without the CUDA context, which belongs to the driver."""
        if not self.weights_gpu:
            return 0
        return self.weights_gpu + self.kv_gpu + self.compute + self.dequantized


def needed(model: GGUF, context_length: int, gpu_layers: int, parallel: int = 1) -> Memory:
    """The memory that `model` takes with an F16 KV cache of `context_length` tokens.

    Each of the `parallel` streams has a cache of that size.

    As in llama.cpp, the last `gpu_layers` layers are on the GPU. The output layer counts as
    one of them and goes first; the token embeddings stay in main memory.
    """
    on_gpu = _Placement(model.block_count, gpu_layers)
    weights_gpu = sum(tensor.size for tensor in model.tensors if on_gpu.has(tensor))
    weights_ram = sum(tensor.size for tensor in model.tensors) - weights_gpu
    if gpu_layers > 0 and on_gpu.output and not _output_weights(model):
        # The embeddings are the output layer too: the GPU gets a copy.
        weights_gpu += sum(t.size for t in model.tensors if t.name == _EMBEDDINGS)
    cache = cache_of_layers(model, context_length, batch_of(gpu_layers))
    kv_gpu = parallel * sum(cache[on_gpu.first :])
    kv_ram = parallel * sum(cache[: on_gpu.first])
    compute = _compute(model, context_length, min(batch_of(gpu_layers), context_length))
    return Memory(
        weights_ram, weights_gpu, kv_ram, kv_gpu, compute, _engine(model, "tokens", "merges")
    )


def needed_in_2023(model: GGUF, context_length: int, gpu_layers: int) -> Memory:
    """`needed` for the llama.cpp of September 2023, which is in ctransformers.

    It counts the output layer last, and the KV cache goes to the GPU only with that layer.
    """
    everything = gpu_layers > model.block_count
    # The same layers as the current llama.cpp counts them, except for the output layer.
    on_gpu = _Placement(model.block_count, gpu_layers + 1 if gpu_layers > 0 else 0)
    weights_gpu = sum(
        tensor.size
        for tensor in model.tensors
        if on_gpu.has(tensor) and (everything or _LAYER.match(tensor.name))
    )
    weights_ram = sum(tensor.size for tensor in model.tensors) - weights_gpu
    cache = model.kv_bytes(context_length)
    batch = GPU_BATCH if gpu_layers > 0 else CPU_BATCH_IN_2023
    compute = _compute_in_2023(model, context_length, min(batch, context_length))
    on_the_gpu, in_memory = (cache, 0) if everything else (0, cache)
    engine = _engine(model, "tokens")
    dequantized = _dequantized_in_2023(model) if gpu_layers > 0 else 0
    return Memory(weights_ram, weights_gpu, in_memory, on_the_gpu, compute, engine, dequantized)


def read_for_a_token(model: GGUF) -> int:
    """Bytes of weights that the computation of one token reads.

    All but the embeddings, of which it reads a row, unless they serve as the output layer too;
    and of a mixture of experts those that are used for a token.
    """
    experts = int(model.hparam("expert_count", 0) or 0)
    used = int(model.hparam("expert_used_count", 0) or 0)
    share = used / experts if experts else 1.0
    return round(
        sum(
            tensor.size * (share if _EXPERTS in tensor.name else 1)
            for tensor in model.tensors
            if tensor.name != _LOOKED_UP
            and (tensor.name != _EMBEDDINGS or not _output_weights(model))
        )
    )


def repacked(model: GGUF) -> int:
    """Bytes of the weights that llama.cpp can repack for the CPU, into a copy of that size.

    As in its `repack.cpp` for AVX2: matrices of these types with a multiple of 8 rows; the
    token embeddings are only looked up.
    """
    return sum(
        tensor.size
        for tensor in model.tensors
        if tensor.type_name in _REPACKED
        and len(tensor.shape) > 1
        and tensor.shape[1] % _ROWS == 0
        and tensor.name != _EMBEDDINGS
    )


@dataclass(frozen=True)
class _Placement:
    """The layers on the GPU: those from `first` on, and the output layer."""

    layers: int
    gpu_layers: int

    @property
    def first(self) -> int:
        return self.layers - max(0, min(self.gpu_layers - 1, self.layers))

    @property
    def output(self) -> bool:
        return self.gpu_layers > 0

    def has(self, tensor: Tensor) -> bool:
        layer = _LAYER.match(tensor.name)
        if layer:
            return int(layer[1]) >= self.first
        return self.output and tensor.name.startswith("output")


def _output_weights(model: GGUF) -> bool:
    return any(tensor.name == "output.weight" for tensor in model.tensors)


def _compute(model: GGUF, context_length: int, batch: int) -> int:
    """Intermediate results of one batch, in bytes.

    Measured: exactly what llama.cpp's log calls its compute buffer, for SmolLM2 and for
    Mistral 7B's dimensions, at batches of 64 and 512 and contexts from 512 to 8,192 tokens. A
    token has three rows of the feed-forward network and five of the embedding in F32, and a
    row of the attention mask in F16. A mixture of experts has the rows once per expert used.
    """
    experts = int(model.hparam("expert_used_count", 1) or 1)
    feed_forward = max(model.per_layer("feed_forward_length", 0), default=0)
    rows = 3 * feed_forward * experts + 5 * int(model.hparam("embedding_length"))
    return batch * (rows * _F32 + context_length * _F16)


def _compute_in_2023(model: GGUF, context_length: int, batch: int) -> int:
    """Intermediate results of one batch without flash attention, in bytes.

    Measured: what the log of that llama.cpp calls its compute buffer, within 0.01 MiB, for
    SmolLM2 at 512 to 8,192 tokens of context and Mistral 7B at 512 to 16,384. The widest of
    three steps counts: each head's scores of all tokens of the context, the feed-forward
    network's rows, and the logits.
    """
    embedding = int(model.hparam("embedding_length"))
    heads = max(model.per_layer("attention.head_count", 1), default=1)
    feed_forward = max(model.per_layer("feed_forward_length", 0), default=0)
    vocabulary = _entries(model, "tokenizer.ggml.tokens")
    widest = max(
        3 * embedding + heads * context_length,
        2 * embedding + 2 * feed_forward,
        embedding + vocabulary,
    )
    return batch * widest * _F32 + _GRAPH_IN_2023


def _dequantized_in_2023(model: GGUF) -> int:
    """F32 copies of the output matrix and of a layer's largest, made for cuBLAS, in bytes.

    Measured on an H100 with a 7B in Q4_K_M: prefill took 1.0 to 1.1 GiB that stayed allocated,
    of which these two are 0.7 GiB; the margin of `Gpu.usable` is for the rest.
    """
    feed_forward = max(model.per_layer("feed_forward_length", 0), default=0)
    rows = _entries(model, "tokenizer.ggml.tokens") + feed_forward
    return rows * int(model.hparam("embedding_length")) * _F32


def _engine(model: GGUF, *tables: str) -> int:
    """The library's code, and its hash tables of tokens and maybe merges, in bytes.

    Measured as the rest of the resident memory: a token takes about 280 bytes.
    """
    entries = sum(_entries(model, f"tokenizer.ggml.{name}") for name in tables)
    return _ENGINE + entries * _TABLE_ENTRY


def _entries(model: GGUF, name: str) -> int:
    table = model.metadata.get(name)
    return table.count if isinstance(table, Array) else 0
