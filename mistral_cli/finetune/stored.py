"""A tensor of a GGUF file as floats, whatever its type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mistral_cli.models.gguf import Tensor


def read_floats(path: Path, tensor: Tensor) -> NDArray[np.float32]:
    """The weights of `tensor` in the file at `path`, its rows first."""
    from gguf import GGMLQuantizationType, quants

    rows = tensor.elements // tensor.shape[0]
    raw = np.memmap(path, np.uint8, "r", tensor.offset, (rows, tensor.size // rows))
    values = quants.dequantize(raw, GGMLQuantizationType(tensor.type))
    return np.asarray(values, np.float32).reshape(tuple(reversed(tensor.shape)))
