"""Prints what `bench` measured, for a person or as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.memory import read_for_a_token
from mistral_cli.system.machine import available_memory, processor, usable_cores
from mistral_cli.system.stdout import write_envelope
from mistral_cli.system.tables import print_table

if TYPE_CHECKING:
    from mistral_cli.diagnostics.bench import Benchmark, BenchRun, CandidateRuns
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal

_MEASURES = {
    "load_seconds": ("load s", "{:.2f}"),
    "prompt_tokens_per_second": ("prompt tok/s", "{:.1f}"),
    "generated_tokens_per_second": ("generated tok/s", "{:.1f}"),
    "first_token_seconds": ("first token s", "{:.2f}"),
}
_WIDE_SPREAD = 0.2


def print_benchmark(
    terminal: Terminal, reference: str, benchmark: Benchmark, *, as_json: bool
) -> None:
    """Print the medians and, on stderr, what was measured and how far the runs differ."""
    if as_json:
        write_envelope(terminal, _envelope(reference, benchmark))
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
        name: number_format.format for name, (_, number_format) in _MEASURES.items()
    }
    show |= {"memory": lambda size: f"{size / 2**30:.2f}", "bandwidth_share": "{:.0%}".format}
    _print_conditions(terminal, reference, benchmark)
    print_table(
        terminal,
        "benchmarks",
        [_row(benchmark, result) for result in benchmark.results],
        titles,
        as_json=False,
        show=show,
    )
    for result in benchmark.results:
        _note_wide_spread(terminal, result)


def _print_conditions(reporter: Reporter, reference: str, benchmark: Benchmark) -> None:
    work, model = benchmark.workload, benchmark.model
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
    for candidate in (result.candidate for result in benchmark.results):
        if candidate.load.repack:
            reporter.note(f"{candidate.name}: weights repacked at load")
    reporter.note(
        f"bandwidth: {read_for_a_token(model) / 1e9:.2f} GB of weights per token x generated tok/s "
        f"/ {benchmark.bandwidth / 1e9:.1f} GB/s that the cores read from memory"
    )


def _note_wide_spread(reporter: Reporter, result: CandidateRuns) -> None:
    for name in ("prompt_tokens_per_second", "generated_tokens_per_second"):
        values = [getattr(run, name) for run in result.runs]
        if max(values) - min(values) > _WIDE_SPREAD * max(values):
            title, number_format = _MEASURES[name]
            reporter.note(
                f"{result.candidate.name}: {title} between {number_format.format(min(values))} and "
                f"{number_format.format(max(values))}: is the machine busy?"
            )


def _row(benchmark: Benchmark, result: CandidateRuns) -> dict[str, Any]:
    load, memory = result.candidate.load, result.median("memory")
    return {
        "engine": result.candidate.name,
        "threads": load.threads,
        "gpu_layers": load.gpu_layers,
        "repacked": load.repack,
        **{name: result.median(name) for name in _MEASURES},
        "memory": None if memory is None else round(memory),
        "bandwidth_share": benchmark.bandwidth_share(result),
        "runs": [_run_fields(run) for run in result.runs],
    }


def _run_fields(run: BenchRun) -> dict[str, Any]:
    return {
        "load_seconds": run.load_seconds,
        "first_token_seconds": run.first_token_seconds,
        "prompt_tokens_per_second": run.prompt_tokens_per_second,
        "generated_tokens_per_second": run.generated_tokens_per_second,
        "memory": run.memory,
    }


def _envelope(reference: str, benchmark: Benchmark) -> dict[str, Any]:
    model, work = benchmark.model, benchmark.workload
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
            "memory_bandwidth": benchmark.bandwidth,
        },
        "workload": {
            "prompt_tokens": work.prompt_tokens,
            "new_tokens": work.new_tokens,
            "repetitions": work.repetitions,
            "cold": work.cold,
        },
        "benchmarks": [_row(benchmark, result) for result in benchmark.results],
    }
