"""Ranks the built-in models by how well they fit this machine, and prints the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.gpu import Gpu, layers_that_fit
from mistral_cli.engines.registry import DEFAULT, automatic, backend, unsupported
from mistral_cli.models.catalog import BUILT_IN, BuiltInModel
from mistral_cli.system.stdout import write_envelope
from mistral_cli.system.tables import print_table

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.memory import Memory
    from mistral_cli.engines.hardware.probe import HardwareReport
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.terminal import Terminal

CONTEXT = 4096
"""Tokens of context to plan for: Mistral v0.1's attention window."""

_BEST_ON_CPU = "Q4_K_M"
_FEW_CORES = 4
_SMALL = 2**30  # a model of so few bytes cannot match any quantization of a 7B


@dataclass(frozen=True)
class Fit:
    """A model on this machine; `shortfall` is the bytes of memory that it lacks, 0 if it fits."""

    entry: BuiltInModel
    layers: int
    gpu_layers: int
    memory: Memory
    shortfall: int
    note: str

    @property
    def all_on_gpu(self) -> bool:
        """Whether the CPU has nothing to compute."""
        return self.gpu_layers == self.layers


def recommend(hardware: HardwareReport) -> list[Fit]:
    """Every built-in model, best first: those that fit, and those on a GPU before the CPU.

    On a GPU the largest quantization is the best. A CPU reads all weights for each token, so
    there the best is Q4_K_M, the smallest that costs little quality, then the one nearest to it
    in size. Models that do not fit come last, the smallest shortfall first.
    """
    fits = [_fit(entry, hardware) for entry in BUILT_IN]
    return sorted(fits, key=_rank)


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
    shortfall = 0 if available is None else max(0, memory.ram - available)
    layers = header.block_count + 1
    note = ""
    if gpu_layers < layers and hardware.cores < _FEW_CORES and memory.weights_ram > _SMALL:
        gigabytes = memory.weights_ram / 1e9
        note = f"slow: {gigabytes:.1f} GB to read for each token, {_cores(hardware.cores)}"
    return Fit(entry, layers, gpu_layers, memory, shortfall, note)


def _rank(fit: Fit) -> tuple[bool, bool, bool, int]:
    if fit.shortfall:
        return True, False, False, fit.shortfall
    small = fit.entry.size < _SMALL
    if fit.all_on_gpu:
        return False, small, False, -fit.entry.size
    best = max(entry.size for entry in BUILT_IN if entry.quantization == _BEST_ON_CPU)
    return False, small, True, abs(fit.entry.size - best)


def print_recommendations(
    terminal: Terminal, fits: Sequence[Fit], hardware: HardwareReport, *, as_json: bool
) -> None:
    """Print the models, best first, with the memory that they need and that this machine has."""
    rows = [_row(fit) for fit in fits]
    if as_json:
        machine = {
            "memory_available": hardware.memory_available,
            "gpus": [{**gpu_fields(gpu), "memory_usable": gpu.usable} for gpu in hardware.gpus],
            "cores": hardware.cores,
        }
        write_envelope(terminal, {"context_length": CONTEXT, "machine": machine, "models": rows})
        return
    available = hardware.memory_available
    memory = "unknown memory" if available is None else f"{gib(available)} of memory"
    gpus = "".join(f", {gib(gpu.usable)} usable on {gpu.name}" for gpu in hardware.gpus)
    cores = _cores(hardware.cores)
    terminal.note(f"{memory}{gpus}, {cores}; for {CONTEXT:,} tokens of context")
    titles = {
        "model": "model",
        "quantization": "quantization",
        "verdict": "fits",
        "gpu_layers": "GPU layers",
        "main_memory": "memory: weights + KV cache + engine",
        "gpu_memory": "GPU: weights + KV cache + buffers",
    }
    texts = [{**row, **_cells(fit)} for row, fit in zip(rows, fits, strict=True)]
    print_table(terminal, "models", texts, titles, as_json=False)
    best = fits[0]
    if not best.shortfall:
        terminal.note(f"best here: mistral-cli models pull {best.entry.reference}")


def gib(size: int) -> str:
    """`size` bytes in GiB, the unit of memory sizes."""
    return f"{size / 2**30:.1f} GiB"


def gpu_fields(gpu: Gpu) -> dict[str, Any]:
    """A GPU in JSON output."""
    return {
        "name": gpu.name,
        "memory_total": gpu.memory_total,
        "memory_free": gpu.memory_free,
    }


def memory_fields(memory: Memory) -> dict[str, int]:
    """A model's memory in JSON output, part by part and in sum."""
    return {
        "weights_ram": memory.weights_ram,
        "weights_gpu": memory.weights_gpu,
        "kv_ram": memory.kv_ram,
        "kv_gpu": memory.kv_gpu,
        "compute": memory.compute,
        "engine": memory.engine,
        "dequantized": memory.dequantized,
        "ram": memory.ram,
        "gpu": memory.gpu,
    }


def _row(fit: Fit) -> dict[str, Any]:
    return {
        "model": fit.entry.reference,
        "quantization": fit.entry.quantization,
        "size": fit.entry.size,
        "fits": not fit.shortfall,
        "lacking": fit.shortfall,
        "layers": fit.layers,
        "gpu_layers": fit.gpu_layers,
        "memory": memory_fields(fit.memory),
        "note": fit.note,
    }


def _cells(fit: Fit) -> dict[str, str]:
    memory = fit.memory
    verdict = f"no: {gib(fit.shortfall)} short" if fit.shortfall else fit.note or "yes"
    buffers = memory.compute + memory.dequantized
    ram = _sum(memory.weights_ram, memory.kv_ram, memory.compute + memory.engine)
    gpu = _sum(memory.weights_gpu, memory.kv_gpu, buffers) if fit.gpu_layers else "-"
    layers = f"{fit.gpu_layers} of {fit.layers}"
    return {"verdict": verdict, "gpu_layers": layers, "main_memory": ram, "gpu_memory": gpu}


def _sum(*parts: int) -> str:
    return f"{' + '.join(f'{part / 2**30:.2f}' for part in parts)} = {gib(sum(parts))}"


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
