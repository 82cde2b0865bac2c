"""What fits this machine, with the sums: for a person, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mistral_cli.diagnostics.recommend import CONTEXT, Fit, Machine, cores
from mistral_cli.system.stdout import write_envelope
from mistral_cli.system.tables import print_table

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal


def print_recommendations(
    terminal: Terminal,
    fits: Sequence[Fit],
    machine: Machine,
    *,
    as_json: bool,
) -> None:
    """Print the models, best first, with the bytes that they need and what there is."""
    rows = [_row(fit) for fit in fits]
    if as_json:
        gpus = [{**asdict(gpu), "memory_usable": gpu.usable} for gpu in machine.gpus]
        here = {"memory_available": machine.memory, "gpus": gpus, "cores": machine.cores}
        write_envelope(terminal, {"context_length": CONTEXT, "machine": here, "models": rows})
        return
    memory = "unknown memory" if machine.memory is None else f"{gib(machine.memory)} of memory"
    where = "".join(f", {gib(gpu.usable)} of {gpu.name} for a model" for gpu in machine.gpus)
    terminal.note(f"{memory}{where}, {cores(machine)}; for {CONTEXT:,} tokens of context")
    titles = {
        "model": "model",
        "quantization": "quantization",
        "verdict": "fits",
        "gpu_layers": "GPU layers",
        "main_memory": "memory: weights + KV cache + engine",
        "gpu_memory": "GPU: weights + KV cache + buffers",
    }
    texts = [{**row, **_sums(fit)} for row, fit in zip(rows, fits, strict=True)]
    print_table(terminal, "models", texts, titles, as_json=False)
    best = fits[0]
    if not best.lacking:
        terminal.note(f"best here: mistral-cli models pull {best.entry.reference}")


def gib(size: int) -> str:
    """Bytes in GiB, as memory is counted."""
    return f"{size / 2**30:.1f} GiB"


def _row(fit: Fit) -> dict[str, Any]:
    memory = fit.memory
    return {
        "model": fit.entry.reference,
        "quantization": fit.entry.quantization,
        "size": fit.entry.size,
        "fits": not fit.lacking,
        "lacking": fit.lacking,
        "layers": fit.layers,
        "gpu_layers": fit.gpu_layers,
        "memory": {**asdict(memory), "ram": memory.ram, "gpu": memory.gpu},
        "note": fit.note,
    }


def _sums(fit: Fit) -> dict[str, str]:
    memory = fit.memory
    verdict = f"no: {gib(fit.lacking)} too little" if fit.lacking else fit.note or "yes"
    buffers = memory.compute + memory.dequantized
    ram = _sum(memory.weights_ram, memory.kv_ram, memory.compute + memory.engine)
    gpu = _sum(memory.weights_gpu, memory.kv_gpu, buffers) if fit.gpu_layers else "-"
    layers = f"{fit.gpu_layers} of {fit.layers}"
    return {"verdict": verdict, "gpu_layers": layers, "main_memory": ram, "gpu_memory": gpu}


def _sum(*parts: int) -> str:
    return f"{' + '.join(f'{part / 2**30:.2f}' for part in parts)} = {gib(sum(parts))}"
