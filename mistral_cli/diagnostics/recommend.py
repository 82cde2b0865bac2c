"""Which built-in model fits this machine, best first, with the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.hardware.gpu import Gpu, layers_that_fit
from mistral_cli.engines.registry import DEFAULT, automatic, backend, unsupported
from mistral_cli.models.catalog import BUILT_IN, BuiltIn
from mistral_cli.system.machine import available_memory, usable_cores

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.memory import Memory
    from mistral_cli.engines.hardware.probe import HardwareReport
    from mistral_cli.models.gguf import GGUF

CONTEXT = 4096
"""Tokens of context to reckon with: Mistral v0.1's attention window."""

_FOR_A_CPU = "Q4_K_M"
_SLOW_CORES = 4
_SMALL = 2**30  # a model of so few bytes is no match for any quantization of a 7B


@dataclass(frozen=True)
class Machine:
    """What there is: bytes of main memory (None: not known, always enough), GPUs, cores.

    `engine` is the one that uses the GPUs.
    """

    memory: int | None
    gpus: tuple[Gpu, ...]
    cores: int
    engine: str = DEFAULT

    @classmethod
    def this(cls, survey: HardwareReport) -> Machine:
        """The machine that runs us, of which `survey` knows the GPUs."""
        engine = survey.gpu_engine or cls.engine
        return cls(available_memory(), survey.gpus, usable_cores(), engine)


@dataclass(frozen=True)
class Fit:
    """A model on this machine; `lacking` is 0 where it fits, else the bytes that it lacks."""

    entry: BuiltIn
    layers: int
    gpu_layers: int
    memory: Memory
    lacking: int
    note: str

    @property
    def all_on_gpu(self) -> bool:
        """Whether the CPU has nothing to compute."""
        return self.gpu_layers == self.layers


def recommend(machine: Machine) -> list[Fit]:
    """Every built-in model, best first: what fits, on the GPU before the CPU.

    On a GPU the largest quantization is the best. A CPU reads all weights for each token,
    so there the best is Q4_K_M, the smallest that costs little quality, then what is nearest
    to it. What does not fit comes last, the least lacking first.
    """
    fits = [_fit(entry, machine) for entry in BUILT_IN]
    return sorted(fits, key=_rank)


def memory_on(
    engine: str, gpus: Sequence[Gpu], header: GGUF, context_length: int
) -> tuple[int, Memory]:
    """The layers of a model that `engine` puts on the GPUs, and the memory that it takes then."""
    reckon = backend(engine).memory
    layers = layers_that_fit(reckon, header, context_length, gpus)
    return layers, reckon(header, context_length, layers)


def cores(machine: Machine) -> str:
    """Their number, as it is said."""
    return "1 core" if machine.cores == 1 else f"{machine.cores} cores"


def _fit(entry: BuiltIn, machine: Machine) -> Fit:
    header = entry.header()
    engine, gpus = machine.engine, machine.gpus
    refusals = unsupported(entry)
    if engine in refusals:
        engine, gpus = next(name for name in automatic() if name not in refusals), ()
    layers, memory = memory_on(engine, gpus, header, CONTEXT)
    lacking = 0 if machine.memory is None else max(0, memory.ram - machine.memory)
    everything = header.block_count + 1
    note = ""
    if layers < everything and machine.cores < _SLOW_CORES and memory.weights_ram > _SMALL:
        note = f"slow: {memory.weights_ram / 1e9:.1f} GB to read for each token, {cores(machine)}"
    return Fit(entry, everything, layers, memory, lacking, note)


def _rank(fit: Fit) -> tuple[bool, bool, bool, int]:
    if fit.lacking:
        return True, False, False, fit.lacking
    of_another_class = fit.entry.size < _SMALL
    if fit.all_on_gpu:
        return False, of_another_class, False, -fit.entry.size
    best = max(entry.size for entry in BUILT_IN if entry.quantization == _FOR_A_CPU)
    return False, of_another_class, True, abs(fit.entry.size - best)
