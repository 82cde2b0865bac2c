"""Prints the built-in models in groups by the memory that they need, and the best one for here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Any

from mistral_cli.diagnostics.recommend import CONTEXT, CURRENT, Fit
from mistral_cli.models.disk import format_size
from mistral_cli.system.stdout import write_envelope
from mistral_cli.system.tables import print_table

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.hardware.memory import Memory
    from mistral_cli.engines.hardware.probe import HardwareReport
    from mistral_cli.system.terminal import Terminal

_TITLES = {
    "model": "model",
    "need": "memory",
    "size": "download",
    "here": "on this machine",
    "notes": "notes",
}


def print_recommendations(
    terminal: Terminal, fits: Sequence[Fit], hardware: HardwareReport, *, as_json: bool
) -> None:
    """Print all models in groups, best first, and name the best one with its memory in parts.

    `fits` has the best model first.
    """
    if as_json:
        _print_json(terminal, fits, hardware)
        return
    terminal.note(f"{_machine(hardware)}; for {CONTEXT:,} tokens of context")
    in_groups = sorted(fits, key=lambda fit: fit.group or inf)  # in each the best stays first
    if terminal.stdout_is_terminal:
        print_table(terminal, "models", list(_with_headings(in_groups)), _TITLES, as_json=False)
    else:
        rows = [{**_cells(fit), "group": _group(fit)} for fit in in_groups]
        titles = {"group": "group", **_TITLES}
        print_table(terminal, "models", rows, titles, as_json=False)
    if any(fit.entry.reasons for fit in fits):
        terminal.note("thinks: writes a thought before the answer, unless --reasoning is off")
    if any(not fit.is_verified for fit in fits):
        terminal.note("unverified: not pulled with this program yet; `models pull` checks the file")
    if (best := fits[0]).shortfall:
        terminal.note(f"no model fits: {best.entry.alias} is {gib(best.shortfall)} short of memory")
    else:
        here = ", which is on this machine" if best.pulled else ""
        terminal.note(f"best here: {best.entry.alias}{here}: {why(best)}")
        terminal.note(_arithmetic(best))
        if not best.pulled:
            size = format_size(best.entry.size)
            terminal.note(f"to download {size}: mistral-cli models pull {best.entry.alias}")


def why(best: Fit) -> str:
    """Why this model is the best one here: the largest of those with all that speaks for it."""
    traits = {
        "fits": not best.shortfall,
        "is not slow": not best.slow,
        "runs on the GPU alone": best.all_on_gpu,
        f"is from {CURRENT} or later": best.is_current,
        "does not think first": not best.entry.reasons,
    }
    *others, last = (trait for trait, holds in traits.items() if holds)
    return f"the largest that {', '.join(others)} and {last}" if others else f"it {last}"


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


def _print_json(terminal: Terminal, fits: Sequence[Fit], hardware: HardwareReport) -> None:
    best = fits[0]
    machine = {
        "memory_available": hardware.memory_available,
        "gpus": [{**gpu_fields(gpu), "memory_usable": gpu.usable} for gpu in hardware.gpus],
        "cores": hardware.cores,
    }
    found = {
        "context_length": CONTEXT,
        "machine": machine,
        "models": [_row(fit) for fit in fits],
        "best": None if best.shortfall else {"model": best.entry.alias, "why": why(best)},
    }
    write_envelope(terminal, found)


def _row(fit: Fit) -> dict[str, Any]:
    return {
        "model": fit.entry.alias,
        "quantization": fit.entry.quantization,
        "size": fit.entry.size,
        "fits": not fit.shortfall,
        "lacking": fit.shortfall,
        "layers": fit.layers,
        "gpu_layers": fit.gpu_layers,
        "memory": memory_fields(fit.memory),
        "note": _slow(fit) if fit.slow else "",
        "group": fit.group,
        "parameters": fit.entry.dimensions.parameters,
        "released": fit.entry.released,
        "license": fit.entry.license,
        "reasons": fit.entry.reasons,
        "slow": fit.slow,
        "pulled": fit.pulled,
        "verified": fit.is_verified,
    }


def _machine(hardware: HardwareReport) -> str:
    available = hardware.memory_available
    memory = "unknown memory" if available is None else f"{gib(available)} of memory"
    gpus = "".join(f", {gib(gpu.usable)} usable on {gpu.name}" for gpu in hardware.gpus)
    return f"{memory}{gpus}, {_cores(hardware.cores)}"


def _with_headings(fits: Sequence[Fit]) -> Iterator[dict[str, str]]:
    for group, members in groupby(fits, key=_group):
        yield {**dict.fromkeys(_TITLES, ""), "model": group}
        for fit in members:
            cells = _cells(fit)
            yield {**cells, "model": f"  {cells['model']}"}


def _group(fit: Fit) -> str:
    return f"up to {fit.group} GiB" if fit.group else "more"


def _cells(fit: Fit) -> dict[str, str]:
    notes = {
        "thinks": fit.entry.reasons,
        "pulled": fit.pulled,
        "unverified": not fit.is_verified,
    }
    return {
        "model": fit.entry.alias,
        "need": gib(fit.need),
        "size": format_size(fit.entry.size),
        "here": _here(fit),
        "notes": ", ".join(note for note, holds in notes.items() if holds),
    }


def _here(fit: Fit) -> str:
    if fit.shortfall:
        return f"no: {gib(fit.shortfall)} short"
    if fit.slow:
        return f"slow: {fit.reading / 1e9:.0f} GB/token"
    if fit.all_on_gpu:
        return "yes, on the GPU"
    return f"yes, GPU: {fit.gpu_layers} of {fit.layers}" if fit.gpu_layers else "yes"


def _slow(fit: Fit) -> str:
    return f"slow: {fit.reading / 1e9:.1f} GB to read for each token"


def _arithmetic(fit: Fit) -> str:
    memory = fit.memory
    ram = _sum(weights=memory.weights_ram, cache=memory.kv_ram, rest=memory.compute + memory.engine)
    if not fit.gpu_layers:
        return f"memory: {ram}"
    rest = memory.compute + memory.dequantized
    gpu = _sum(weights=memory.weights_gpu, cache=memory.kv_gpu, rest=rest)
    return f"GPU: {gpu}; memory: {ram}"


def _sum(*, weights: int, cache: int, rest: int) -> str:
    parts = f"{weights / 2**30:.2f} weights + {cache / 2**30:.2f} KV cache"
    return f"{parts} + {rest / 2**30:.2f} engine = {gib(weights + cache + rest)}"


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
