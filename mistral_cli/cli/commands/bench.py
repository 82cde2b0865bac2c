"""`mistral-cli bench`: how fast a model loads, reads and writes on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.engines.options import AUTO, GpuLayersOption
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
        help="Measure this engine; repeat it to compare several (default: the one in use).",
        show_default=False,
    ),
]
PromptTokens = Annotated[
    int, typer.Option("-p", "--prompt-tokens", min=1, metavar="N", help="Tokens to read.")
]
NewTokens = Annotated[
    int, typer.Option("-n", "--new-tokens", min=2, metavar="N", help="Tokens to write.")
]
Repetitions = Annotated[
    int,
    typer.Option(
        "-r", "--repetitions", min=1, metavar="N", help="Runs of which the median counts."
    ),
]
Repack = Annotated[
    bool | None,
    typer.Option(
        "--repack/--no-repack",
        help="Rearrange the weights at load, or do not (default: as a call with as many tokens).",
        show_default=False,
    ),
]
Cold = Annotated[
    bool, typer.Option("--cold", help="Have each run read the file from the disk (Linux).")
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
    """Measure how fast a model loads, reads and writes here, and its memory.

    Every run is a new process with a prompt of random tokens. Tokens that end a text are never
    drawn, so that each writes as many; greedily, as ever the same ones.
    """
    from mistral_cli.diagnostics.bench import Workload, contestants, measure
    from mistral_cli.diagnostics.bench_report import print_benchmark
    from mistral_cli.models.call import prepare_call

    call = prepare_call(context.obj, quiet=quiet, offline=offline)
    terminal, file = call.terminal, call.read_model(model)
    workload = Workload(prompt_tokens, new_tokens, repetitions, cold)
    entrants = contestants(
        engine or [call.config.engine],
        file,
        workload,
        gpu_layers=gpu_layers,
        threads=threads,
        repack=repack,
        warn=terminal.warn,
    )
    found = measure(file, entrants, workload, terminal.status, terminal.warn)
    print_benchmark(terminal, call.model_name(model), found, as_json=json)
