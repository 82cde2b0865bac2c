"""Write LoRA adapters in GGUF for tests, valid and invalid ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from mistral_cli.models.gguf import read_gguf

Change = Callable[[gguf.GGUFWriter, dict[str, NDArray[Any]]], None]


def write_adapter(
    path: Path,
    model: Path,
    targets: Sequence[str] = ("attn_q", "attn_v"),
    *,
    rank: int = 4,
    alpha: float = 8.0,
    size: float = 0.1,
    seed: int = 0,
    change: Change | None = None,
) -> Path:
    """Write an adapter for the `targets` matrices of the GGUF `model`, and return `path`.

    Its weights are random, of about `size`: the larger they are, the more the answers change.
    `change` may alter metadata and tensors before they are written.
    """
    header = read_gguf(model)
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, header.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_name("Tiny adapter")
    tensors = {}
    for tensor in header.tensors:
        if tensor.name.split(".")[-2] in targets:
            columns, rows = tensor.shape
            for part, shape in (("a", (rank, columns)), ("b", (rows, rank))):
                values = random.standard_normal(shape, np.float32) * size
                tensors[f"{tensor.name}.lora_{part}"] = values.astype(np.float16)
    if change:
        change(writer, tensors)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
