"""Looks for NaN and infinity in the weights: one of them makes a model compute only NaN."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mistral_cli.models.gguf.checks import refuse

if TYPE_CHECKING:
    from mistral_cli.models.gguf.model import GGUF, Tensor

# Type -> (the integer that has the size of its floats, the bits of the exponent). All ones there
# mean infinity or NaN.
_FLOATS = {
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
# Where a block has its scales, which are F16 (`block_*` in ggml's `ggml-common.h`). Any value of
# the other bits is a number. The scales of IQ1_M, MXFP4 and NVFP4 are stored in other ways.
_SCALES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "Q1_0", "Q2_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}

_BLOCKS = 1 << 18  # at a time: up to 55 MB


def check_vectors(model: GGUF) -> None:
    """Refuse NaN and infinity in norms and biases: the tensors of one dimension in F32.

    Not every engine reports what they make of an answer: after a damaged `output_norm.weight`,
    the sampler of llama.cpp may pick tokens without sense. SmolLM2 has 0.1 MB of them, which takes
    0.1 ms; a 7B 1.1 MB, which takes 0.2 ms, and 22 ms from a cold disk. Raises `ModelUnusable` and
    `OSError`.
    """
    for path, tensors in model.tensors_by_file():
        with path.open("rb", buffering=0) as file:
            for tensor in tensors:
                if len(tensor.shape) == 1 and tensor.type_name == "F32":
                    file.seek(tensor.offset)
                    if not _is_finite(file.read(tensor.size)):
                        refuse(f"its tensor {tensor.name!r} is damaged: it has NaN or infinity")


def _is_finite(floats: bytes) -> bool:
    """Whether all 32-bit floats are numbers, without numpy, whose import takes 60 ms."""
    high = floats[3::4]  # the sign, and 7 of the 8 bits of the exponent: all ones in NaN
    if 0x7F not in high and 0xFF not in high:
        return True
    return math.isfinite(sum(memoryview(floats).cast("f")))  # added as doubles: no overflow


def damaged_tensor(model: GGUF) -> str | None:
    """Return the name of a tensor with NaN or infinity in its weights, or None.

    Reads all files, so it is for models that computed NaN: SmolLM2 (98 MB in Q4_1) takes
    0.1 s from memory, a 7B in Q4_K_M as long as its 4 GB take to read. Raises `OSError`.
    """
    for path, tensors in model.tensors_by_file():
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            if damaged := next((each.name for each in tensors if _is_damaged(each, data)), None):
                return damaged
    return None


def _is_damaged(tensor: Tensor, data: mmap.mmap) -> bool:
    """Whether any float of a tensor is infinity or NaN; its blocks are read some at a time."""
    import numpy as np

    is_plain = tensor.type_name in _FLOATS
    if not is_plain and tensor.type_name not in _SCALES:
        return False
    kind, exponent = _FLOATS[tensor.type_name if is_plain else "F16"]
    size = np.dtype(kind).itemsize
    end, step = tensor.offset + tensor.size, tensor.block_bytes * _BLOCKS
    for start in range(tensor.offset, end, step):
        # A copy: the file cannot be closed while an array refers to it.
        content = np.frombuffer(data[start : min(start + step, end)], kind)
        blocks = content.reshape(-1, tensor.block_bytes // size)
        for place in _SCALES.get(tensor.type_name, (0,)):
            if ((blocks[:, place // size] & exponent) == exponent).any():
                return True
    return False
