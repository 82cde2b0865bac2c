"""How many of a model's layers fit into the memory of the GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mistral_cli.gguf import GGUF
from mistral_cli.memory import needed

_MARGIN = 512 * 2**20
_MARGIN_SHARE = 20


@dataclass(frozen=True)
class Gpu:
    """One GPU: memory in bytes; `memory_free` is None where only the total is known."""

    name: str
    memory_total: int
    memory_free: int | None

    @property
    def usable(self) -> int:
        """Bytes for a model: what is free, less 512 MiB and a twentieth of the total.

        So much, because what a driver takes beside the model is in no file: 300 to 500 MiB
        for the CUDA context and its kernels, cuBLAS' workspace, buffers for dequantized
        weights that come and go with every batch, and a desktop that may want more by then.
        Weights that do not fit cost speed; memory that runs out later ends the process.
        """
        free = self.memory_total if self.memory_free is None else self.memory_free
        return max(0, free - _MARGIN - self.memory_total // _MARGIN_SHARE)


def fits(
    model: GGUF, context_length: int, layers: int, gpus: Sequence[Gpu], parallel: int = 1
) -> bool:
    """Whether `layers` layers and their KV caches fit; every GPU holds its own buffers."""
    memory = needed(model, context_length, layers, parallel)
    wanted = memory.gpu + max(0, len(gpus) - 1) * memory.compute
    return wanted <= sum(gpu.usable for gpu in gpus)


def layers_that_fit(
    model: GGUF, context_length: int, gpus: Sequence[Gpu], parallel: int = 1
) -> int:
    """The most layers that fit; the output layer counts as one more."""
    everything = model.block_count + 1
    counts = range(everything, 0, -1)
    return next((n for n in counts if fits(model, context_length, n, gpus, parallel)), 0)
