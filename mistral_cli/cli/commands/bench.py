"""`mistral-cli bench`: how fast a model loads, reads and writes on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.engines.gpu_layers import AUTO
from mistral_cli.engines.options import GpuLayersOption
from mistral_cli.system.options import (
    JsonOption,
    ModelOption,
    OfflineOption,
    QuietOption,
    ThreadsOption,
)

Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Engine to measure; repeat to compare several (default: the configured engine).",
        show_default=False,
    ),
]
PromptTokens = Annotated[
    int, typer.Option("-p", "--prompt-tokens", min=1, metavar="N", help="Tokens of the prompt.")
]
NewTokens = Annotated[
    int, typer.Option("-n", "--new-tokens", min=2, metavar="N", help="Tokens to write.")
]
Repetitions = Annotated[
    int,
    typer.Option(
        "-r", "--repetitions", min=1, metavar="N", help="Runs per engine; the median counts."
    ),
]
Repack = Annotated[
    bool | None,
    typer.Option(
        "--repack/--no-repack",
        help="Repack the weights at load, or not (default: as a call with as many tokens would).",
        show_default=False,
    ),
]
Cold = Annotated[
    bool,
    typer.Option(
        "--cold", help="Read the file from the disk in each run, not from the page cache (Linux)."
    ),
]


def bench(
    context: typer.Context,
    model: ModelOption = None,
    engine: Engines = None,
    gpu_layers: GpuLayersOption = AUTO,
    threads: ThreadsOption = None,
    prompt_tokens: PromptTokens = 512,
    new_tokens: NewTokens = 128,
    repetitions: Repetitions = 3,
    repack: Repack = None,
    cold: Cold = False,
    offline: OfflineOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure how fast a model loads, reads and writes here, and its memory use.

    Every run is a new process with the same prompt of random tokens and greedy decoding. Tokens
    that end a text are ignored, so that every run writes as many.
    """
    from mistral_cli.diagnostics.bench import Workload, measure, select_candidates
    from mistral_cli.diagnostics.bench_report import print_benchmark
    from mistral_cli.models.call import prepare_call

    call = prepare_call(context.obj, quiet=quiet, offline=offline)
    terminal, file = call.terminal, call.read_model(model)
    workload = Workload(prompt_tokens, new_tokens, repetitions, cold)
    candidates = select_candidates(
        engine or [call.config.engine],
        file,
        workload,
        gpu_layers=gpu_layers,
        threads=threads,
        repack=repack,
        reporter=terminal,
    )
    benchmark = measure(file, candidates, workload, terminal)
    print_benchmark(terminal, call.model_name(model), benchmark, as_json=json)
