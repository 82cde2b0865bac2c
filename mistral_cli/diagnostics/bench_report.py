"""What `bench` measured: for a person, or as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.memory import read_for_a_token
from mistral_cli.system.machine import available_memory, processor, usable_cores
from mistral_cli.system.stdout import write_envelope
from mistral_cli.system.tables import print_table

if TYPE_CHECKING:
    from mistral_cli.diagnostics.bench import Benchmark, Result
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal

_MEASURES = {
    "load_seconds": ("load s", "{:.2f}"),
    "prompt_tokens_per_second": ("prompt tok/s", "{:.1f}"),
    "generated_tokens_per_second": ("generated tok/s", "{:.1f}"),
    "first_token_seconds": ("first token s", "{:.2f}"),
}
_BUSY = 0.2


def print_benchmark(terminal: Terminal, reference: str, found: Benchmark, *, as_json: bool) -> None:
    """Print the medians; on stderr, what they are of and how sure they are."""
    if as_json:
        write_envelope(terminal, _envelope(reference, found))
        return
    titles = {
        "engine": "engine",
        "threads": "threads",
        "gpu_layers": "GPU layers",
        **{name: title for name, (title, _) in _MEASURES.items()},
        "memory": "peak GiB",
        "bandwidth_share": "bandwidth",
    }
    show: dict[str, Callable[[Any], str]] = {
        name: shape.format for name, (_, shape) in _MEASURES.items()
    }
    show |= {"memory": lambda size: f"{size / 2**30:.2f}", "bandwidth_share": "{:.0%}".format}
    _explain(terminal, reference, found)
    print_table(
        terminal,
        "benchmarks",
        [_row(found, result) for result in found.results],
        titles,
        as_json=False,
        show=show,
    )
    for result in found.results:
        _tell_spread(terminal, result)


def _explain(reporter: Reporter, reference: str, found: Benchmark) -> None:
    work, model = found.workload, found.model
    cores = usable_cores()
    reporter.note(
        f"{reference} ({model.quantization}, {model.file_size / 1e9:.2f} GB) on {processor()}, "
        f"{cores} {'core' if cores == 1 else 'cores'}"
    )
    cache = "not in the page cache" if work.cold else "in the page cache"
    reporter.note(
        f"a prompt of {work.prompt_tokens} tokens, then {work.new_tokens} new ones; "
        f"median of {work.repetitions}; the file {cache}; first token: load and prompt together"
    )
    for contestant in (result.contestant for result in found.results):
        if contestant.load.repack:
            reporter.note(f"{contestant.name}: weights rearranged at load")
    reporter.note(
        f"bandwidth: {read_for_a_token(model) / 1e9:.2f} GB of weights a token x generated tok/s "
        f"/ {found.bandwidth / 1e9:.1f} GB/s of memory that the cores read"
    )


def _tell_spread(reporter: Reporter, result: Result) -> None:
    for name in ("prompt_tokens_per_second", "generated_tokens_per_second"):
        values = [getattr(run, name) for run in result.runs]
        if max(values) - min(values) > _BUSY * max(values):
            title, shape = _MEASURES[name]
            reporter.note(
                f"{result.contestant.name}: {title} between {shape.format(min(values))} and "
                f"{shape.format(max(values))}: is the machine busy?"
            )


def _row(found: Benchmark, result: Result) -> dict[str, Any]:
    load, memory = result.contestant.load, result.median("memory")
    return {
        "engine": result.contestant.name,
        "threads": load.threads,
        "gpu_layers": load.gpu_layers,
        "repacked": load.repack,
        **{name: result.median(name) for name in _MEASURES},
        "memory": None if memory is None else round(memory),
        "bandwidth_share": found.bandwidth_share(result),
        "runs": [asdict(run) for run in result.runs],
    }


def _envelope(reference: str, found: Benchmark) -> dict[str, Any]:
    model = found.model
    return {
        "model": {
            "reference": reference,
            "path": str(model.path),
            "size": model.file_size,
            "quantization": model.quantization,
            "bytes_read_for_a_token": read_for_a_token(model),
        },
        "machine": {
            "processor": processor(),
            "cores": usable_cores(),
            "memory_available": available_memory(),
            "memory_bandwidth": found.bandwidth,
        },
        "workload": asdict(found.workload),
        "benchmarks": [_row(found, result) for result in found.results],
    }
