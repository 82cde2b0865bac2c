"""Quantized blocks → floats, in torch and therefore also on a GPU.

The formats are those of ggml's `ggml-common.h`. Every result equals that of the `gguf` package's
dequantization, to the bit, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mistral_cli.models.gguf.types import TENSOR_TYPES

_QUANTS, _SUB = 256, 32


def dequantize(blocks: Tensor, type_name: str) -> Tensor:
    """Dequantize `blocks` to float32; `type_name` must be in `READABLE`.

    `blocks` is a matrix of bytes with one row for each row of the weights.
    """
    size = _BLOCK_BYTES[type_name]
    values = READABLE[type_name](blocks.reshape(-1, size))
    return values.reshape(blocks.shape[0], -1)


def _half(blocks: Tensor, start: int) -> Tensor:
    """The F16 number at byte `start` of every block."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """The low nibbles of some bytes, then the high ones, along the last axis."""
    return torch.cat([packed & 15, packed >> 4], dim=-1)


def _bits(packed: Tensor) -> Tensor:
    """The 32 bits in each 4 bytes, lowest first."""
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, :, None] >> shifts) & 1).reshape(packed.shape[0], -1)


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).float() + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    quants = _nibbles(blocks[:, 6:]) | _bits(blocks[:, 2:6]) << 4
    return _half(blocks, 0) * (quants.float() - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    quants = _nibbles(blocks[:, 8:]) | _bits(blocks[:, 4:8]) << 4
    return _half(blocks, 0) * quants.float() + _half(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * blocks[:, 2:].view(torch.int8).float()


def _scales_and_minimums(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and minimum of each of 8 sub-blocks of Q4_K and Q5_K.

    Each has 6 bits; together they are packed into 12 bytes.
    """
    low, middle, high = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat([low & 63, high & 15 | low >> 6 << 4], dim=1).float()
    minimums = torch.cat([middle & 63, high >> 4 | middle >> 6 << 4], dim=1).float()
    return _half(blocks, 0) * scales, _half(blocks, 2) * minimums


def _scaled(quants: Tensor, scales: Tensor, minimums: Tensor) -> Tensor:
    values = quants.reshape(-1, _QUANTS // _SUB, _SUB).float()
    return values.mul_(scales[:, :, None]).sub_(minimums[:, :, None])


def _q4_k(blocks: Tensor) -> Tensor:
    quants = _nibbles(blocks[:, 16:].reshape(-1, 4, _SUB))
    return _scaled(quants, *_scales_and_minimums(blocks))


def _q5_k(blocks: Tensor) -> Tensor:
    shifts = torch.arange(8, dtype=torch.uint8, device=blocks.device)[:, None]
    fifth = (blocks[:, None, 16:48] >> shifts) & 1
    quants = _nibbles(blocks[:, 48:].reshape(-1, 4, _SUB)).reshape(-1, 8, _SUB)
    return _scaled(quants | fifth << 4, *_scales_and_minimums(blocks))


def _q6_k(blocks: Tensor) -> Tensor:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, _SUB)
    shifts = torch.arange(0, 8, 2, dtype=torch.uint8, device=blocks.device)[:, None]
    high = (blocks[:, 128:192].reshape(-1, 2, 1, _SUB) >> shifts) & 3
    quants = (low | high << 4).reshape(-1, 16, 16).float().sub_(32)
    scales = _half(blocks, 208) * blocks[:, 192:208].view(torch.int8).float()
    return quants.mul_(scales[:, :, None])


READABLE: dict[str, Callable[[Any], Any]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
"""The types that a network can keep quantized during training, and their dequantizers."""

_BLOCK_BYTES = {name: size for name, _, size in TENSOR_TYPES.values()}
