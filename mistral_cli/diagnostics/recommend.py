"""Ranks the built-in models by how well they fit this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.hardware.gpu import Gpu, layers_that_fit
from mistral_cli.engines.hardware.memory import read_for_a_token
from mistral_cli.engines.registry import DEFAULT, automatic, backend, unsupported
from mistral_cli.models.catalog import BUILT_IN, BuiltInModel

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.memory import Memory
    from mistral_cli.engines.hardware.probe import HardwareReport
    from mistral_cli.models.gguf import GGUF

CONTEXT = 4096
"""Tokens of context to plan for: Mistral v0.1's attention window."""

_GROUPS = (2, 4, 8, 16, 24)

# Generation reads all weights for each token. Two cores of the server of our benchmarks read 35
# GB/s; a desktop's two memory channels give 40 to 60 to all of its cores. Five tokens a second are
# about as fast as people read.
_BYTES_PER_CORE, _BYTES_IN_ALL = 15e9, 45e9
_SLOW = 5

_SMALL = 1_500_000_000
"""Bytes. Smaller files have models of less than 2 billion parameters, for want of better ones."""

CURRENT = "2025"
"""Models from this year on are better than larger ones from before."""


@dataclass(frozen=True)
class Fit:
    """A model on this machine; `shortfall` is the bytes of memory that it lacks, 0 if it fits.

    `reading` is the bytes of weights that the CPU reads for each token, and `slow` says that this
    takes too long. `need` is the main memory without a GPU. `pulled`: the file is here.
    """

    entry: BuiltInModel
    layers: int
    gpu_layers: int
    memory: Memory
    shortfall: int
    need: int
    reading: int
    slow: bool
    pulled: bool

    @property
    def all_on_gpu(self) -> bool:
        """Whether the CPU has nothing to compute."""
        return self.gpu_layers == self.layers

    @property
    def is_current(self) -> bool:
        """Whether the model is recent enough to be better than larger ones from before."""
        return self.entry.released >= CURRENT

    @property
    def group(self) -> int | None:
        """The GiB of memory that are enough for the model; None if it needs more than the most."""
        return next((gib for gib in _GROUPS if self.need <= gib * 2**30), None)

    @property
    def is_verified(self) -> bool:
        """Whether this program has pulled the file, here or by us: a pull checks its SHA-256."""
        return self.pulled or self.entry.is_pinned


def recommend(hardware: HardwareReport) -> list[Fit]:
    """Every built-in model, best first.

    Those that fit come first, and of them those that are not slow, those that are not small, those
    entirely on the GPU, those of today, and those that answer without thinking. Of the rest the
    largest is the best. Models that do not fit come last, the smallest shortfall first.
    """
    return sorted((_fit(entry, hardware) for entry in BUILT_IN), key=_rank)


def memory_here(hardware: HardwareReport, header: GGUF, context_length: int) -> tuple[int, Memory]:
    """The layers of a model that go on this machine's GPUs, and the memory that it takes then."""
    engine = hardware.gpu_engine or DEFAULT
    return memory_on(engine, hardware.gpus, header, context_length)


def memory_on(
    engine: str, gpus: Sequence[Gpu], header: GGUF, context_length: int
) -> tuple[int, Memory]:
    """The layers of a model that `engine` puts on `gpus`, and the memory that it takes then."""
    needed = backend(engine).memory
    layers = layers_that_fit(needed, header, context_length, gpus)
    return layers, needed(header, context_length, layers)


def _fit(entry: BuiltInModel, hardware: HardwareReport) -> Fit:
    header = entry.header()
    engine, gpus = hardware.gpu_engine or DEFAULT, hardware.gpus
    refusals = unsupported(entry)
    if engine in refusals:
        engine, gpus = next(name for name in automatic() if name not in refusals), ()
    gpu_layers, memory = memory_on(engine, gpus, header, CONTEXT)
    available = hardware.memory_available  # None (unknown) counts as enough
    layers = header.block_count + 1
    share = memory.weights_ram / (memory.weights_ram + memory.weights_gpu)
    reading = 0 if gpu_layers == layers else round(read_for_a_token(header) * share)
    bandwidth = min(hardware.cores * _BYTES_PER_CORE, _BYTES_IN_ALL)
    return Fit(
        entry,
        layers,
        gpu_layers,
        memory,
        shortfall=0 if available is None else max(0, memory.ram - available),
        need=backend(engine).memory(header, CONTEXT, 0).ram,
        reading=reading,
        slow=reading * _SLOW > bandwidth,
        pulled=entry.source.locate() is not None,
    )


def _rank(fit: Fit) -> tuple[int | bool, ...]:
    entry = fit.entry
    return (
        fit.shortfall,
        fit.slow,
        entry.size < _SMALL,
        not fit.all_on_gpu,
        not fit.is_current,
        entry.reasons,
        -entry.size,
    )
