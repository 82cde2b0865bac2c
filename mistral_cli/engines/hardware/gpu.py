"""How many of a model's layers fit into the memory of the GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mistral_cli.engines.hardware.memory import Memory
from mistral_cli.models.gguf import GGUF

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
        """Bytes for a model: the free memory, less 512 MiB and a twentieth of the total.

        So much, because no file tells what a driver takes in addition: 300 to 500 MiB
        for the CUDA context and its kernels, cuBLAS' workspace, buffers for dequantized
        weights that come and go with every batch, and a desktop that may need more by then.
        Weights that do not fit cost speed, but memory that runs out later ends the process.
        """
        free = self.memory_total if self.memory_free is None else self.memory_free
        return max(0, free - _MARGIN - self.memory_total // _MARGIN_SHARE)


MemoryEstimate = Callable[[GGUF, int, int, int], Memory]
"""The memory that a model takes in one engine: `Backend.memory`."""


def fits(memory: Memory, gpus: Sequence[Gpu]) -> bool:
    """Whether the GPUs have room for their part; each of them holds its own buffers."""
    needed_bytes = memory.gpu + max(0, len(gpus) - 1) * memory.compute
    return needed_bytes <= sum(gpu.usable for gpu in gpus) and not too_full(memory, gpus)


def too_full(memory: Memory, gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs without room even for their buffers: engines put layers on each of them."""
    return [gpu for gpu in gpus if gpu.usable < memory.compute]


def fits_easily(memory: Memory, gpus: Sequence[Gpu]) -> bool:
    """Whether half as much again and a GiB would fit, on GPUs that report free memory."""
    if any(gpu.memory_free is None for gpu in gpus) or not fits(memory, gpus):
        return False
    return memory.gpu * 3 // 2 + 2**30 <= sum(gpu.usable for gpu in gpus)


def report_memory(gpus: Sequence[Gpu]) -> bool:
    """Whether the GPUs report how much memory they have: some drivers do not."""
    return any(gpu.memory_total for gpu in gpus)


def layers_that_fit(
    estimate: MemoryEstimate,
    model: GGUF,
    context_length: int,
    gpus: Sequence[Gpu],
    parallel: int = 1,
) -> int:
    """The most layers that fit; the output layer counts as one more.

    All of them, if the GPUs do not report their memory.
    """
    everything = model.block_count + 1
    if not report_memory(gpus):
        return everything if gpus else 0
    counts = range(everything, 0, -1)
    return next((n for n in counts if fits(estimate(model, context_length, n, parallel), gpus)), 0)
