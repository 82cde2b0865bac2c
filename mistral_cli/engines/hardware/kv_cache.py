"""The bytes that llama.cpp caches for each layer: not every layer remembers the whole context."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

_F16, _F32 = 2, 4
_PADDING = 256

# Of these, llama.cpp knows the pattern, and the file does not state it: every n-th layer sees the
# whole context, the others a window (`load_arch_hparams` of each model).
_FULL_EVERY = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2}


def cache_of_layers(model: GGUF, context_length: int, batch: int) -> list[int]:
    """Bytes of one stream's cache for each layer, with keys and values in F16.

    A layer with a sliding window keeps the window and a batch, padded to 256 tokens
    (`llama-kv-cache-iswa.cpp`). A recurrent layer keeps a state of one size. The last layers of
    some models (Gemma 4) share the cache of earlier ones.
    """
    window = int(model.hparam("attention.sliding_window", 0) or 0)
    kept = min(context_length, window + batch)
    kept += -kept % _PADDING
    own = model.block_count - int(model.hparam("attention.shared_kv_layers", 0) or 0)
    windowed, recurrent = _windowed(model, window), _recurrent(model)
    wide, narrow = model.head_sizes, _head_sizes_in_window(model)
    bytes_of_layers = []
    for layer, kv_heads in enumerate(model.kv_heads):
        if layer >= own:
            size = 0
        elif layer in recurrent:
            size = _state(model)
        elif layer in windowed:
            size = kv_heads * sum(narrow) * _F16 * kept
        else:
            size = kv_heads * sum(wide) * _F16 * context_length
        bytes_of_layers.append(size)
    return bytes_of_layers


def _windowed(model: GGUF, window: int) -> set[int]:
    """The layers that see a sliding window only."""
    if not window:
        return set()
    pattern = model.hparam("attention.sliding_window_pattern")
    if isinstance(pattern, tuple):
        return {layer for layer, narrow in enumerate(pattern) if narrow}
    every = int(pattern or _FULL_EVERY.get(model.architecture, 1))
    return {layer for layer in range(model.block_count) if (layer + 1) % every}


def _recurrent(model: GGUF) -> set[int]:
    """The layers with linear attention, which keep a state in place of keys and values."""
    every = int(model.hparam("full_attention_interval", 1) or 1)
    return {layer for layer in range(model.block_count) if (layer + 1) % every}


def _head_sizes_in_window(model: GGUF) -> tuple[int, int]:
    key, value = model.head_sizes
    return (
        int(model.hparam("attention.key_length_swa", key)),
        int(model.hparam("attention.value_length_swa", value)),
    )


def _state(model: GGUF) -> int:
    """Bytes of a recurrent layer's state in F32: of its convolution and of the layer itself."""
    names = ("conv_kernel", "inner_size", "state_size", "group_count")
    kernel, inner, state, groups = (int(model.hparam(f"ssm.{name}", 0) or 0) for name in names)
    convolution = max(0, kernel - 1) * (inner + 2 * groups * state)
    return (convolution + inner * state) * _F32
