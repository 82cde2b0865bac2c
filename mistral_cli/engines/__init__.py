"""The engines, and which of them serves a request. The only package that imports one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mistral_cli.engines.base import (
    Engine,
    Event,
    Finish,
    FinishReason,
    LoadOptions,
    Piece,
    PromptProgress,
    Request,
    Sampling,
)
from mistral_cli.errors import ContextExceeded, EngineFailed, GpuRequired, ModelUnusable, UsageError
from mistral_cli.gguf import GGUF
from mistral_cli.gguf import read as read_gguf
from mistral_cli.gguf.vocabulary import write_vocabulary_model
from mistral_cli.machine import available_memory
from mistral_cli.scratch import scratch_folder

__all__ = [
    "ENGINES",
    "Choice",
    "Engine",
    "Event",
    "Finish",
    "FinishReason",
    "LoadOptions",
    "Piece",
    "PromptProgress",
    "Request",
    "Sampling",
    "check_names",
    "choose",
    "open_engine",
    "open_tokenizer",
    "verdicts",
]

ENGINES = {
    "llama.cpp": "llama_cpp:LlamaCpp",
    "ctransformers": "ctransformers:CTransformers",
    "fake": "fake:FakeEngine",
}
"""Name → where it is, in the order in which `auto` prefers them."""

_NEVER_AUTOMATIC = "fake"


def engine_class(name: str) -> type[Engine]:
    """The engine called `name`. Raises UsageError for an unknown name."""
    if name not in ENGINES:
        known = ", ".join(["auto", *(n for n in ENGINES if n != _NEVER_AUTOMATIC)])
        raise UsageError(f"unknown engine {name!r}", hint=f"Use one of: {known}.")
    module, _, attribute = ENGINES[name].partition(":")
    found: type[Engine] = getattr(importlib.import_module(f".{module}", __name__), attribute)
    return found


def verdicts(model: GGUF) -> dict[str, str]:
    """For every real engine whether it can run `model`: "yes", or why not."""
    named = {name: engine_class(name) for name in ENGINES if name != _NEVER_AUTOMATIC}
    return {
        name: f"no: {problem}" if (problem := e.missing() or e.unsupported(model)) else "yes"
        for name, e in named.items()
    }


@dataclass(frozen=True)
class Choice:
    """The engine for a request, why it was taken, and the layers it puts on the GPU.

    `warning` tells the user that the layers asked for stay on the CPU.
    """

    engine: type[Engine]
    reason: str
    gpu_layers: int
    warning: str | None = None


def check_names(name: str, gpu_layers: str) -> None:
    """Raise UsageError for what `choose` would refuse whatever the model."""
    if name != "auto":
        engine_class(name)
    if gpu_layers not in ("auto", "all") and not gpu_layers.isdecimal():
        raise UsageError(
            f"--gpu-layers cannot be {gpu_layers!r}", hint="Use a number from 0, auto or all."
        )


def choose(name: str, model: GGUF, *, gpu_layers: str, require_gpu: bool) -> Choice:
    """Pick the engine for `model`.

    `name` is an engine or "auto"; `gpu_layers` is a number, "auto" or "all". Auto takes
    llama.cpp where it can serve the request, and ctransformers where only that can.
    Raises ModelUnusable when none can, GpuRequired when `require_gpu` and none has one.
    """
    check_names(name, gpu_layers)
    candidates = [n for n in ENGINES if n != _NEVER_AUTOMATIC] if name == "auto" else [name]
    problems: dict[str, str] = {}
    usable: list[type[Engine]] = []
    for candidate in candidates:
        engine = engine_class(candidate)
        if problem := engine.missing() or engine.unsupported(model):
            problems[candidate] = problem
        else:
            usable.append(engine)
    if not usable:
        reasons = "; ".join(f"{n}: {p}" for n, p in problems.items())
        hint = (
            "Use another model file, or --engine auto." if name != "auto" else "Use another file."
        )
        raise ModelUnusable(f"no engine can run {model.path.name} ({reasons})", hint=hint)
    return _with_gpu(usable, problems, model, gpu_layers, require_gpu, automatic=name == "auto")


def _with_gpu(
    usable: list[type[Engine]],
    problems: dict[str, str],
    model: GGUF,
    gpu_layers: str,
    require_gpu: bool,
    *,
    automatic: bool,
) -> Choice:
    layers = _layers(gpu_layers, model)
    without: dict[str, str] = {}
    for engine in usable if layers else ():
        if problem := engine.no_gpu():
            without[engine.name] = problem
        else:
            why = "the first that can run the model on a GPU" if automatic else "named by --engine"
            return Choice(engine, why, layers)
    reasons = "; ".join(f"{n}: {p}" for n, p in (problems | without).items())
    if require_gpu:
        raise GpuRequired(
            f"no GPU can be used ({reasons if layers else '--gpu-layers is 0'})",
            hint="Drop --require-gpu for the CPU.",
        )
    others = "".join(f"; {n} cannot: {p}" for n, p in problems.items())
    why = f"the first that can run the model{others}" if automatic else "named by --engine"
    asked_for = layers and gpu_layers != "auto"
    warning = f"no GPU can be used, so the CPU computes all layers ({reasons})"
    return Choice(usable[0], why, 0, warning if asked_for else None)


def _layers(gpu_layers: str, model: GGUF) -> int:
    """How many layers to offload; the output layer counts as one more."""
    everything = model.block_count + 1
    if gpu_layers in ("auto", "all"):
        return everything
    return min(int(gpu_layers), everything)


def open_engine(choice: Choice, model: GGUF, options: LoadOptions) -> Engine:
    """Load `model`. Raises ContextExceeded when its KV cache does not fit in memory."""
    free, wanted = available_memory(), model.kv_bytes(options.context_length)
    in_main_memory = options.gpu_layers < model.block_count
    if in_main_memory and free is not None and wanted > free:
        raise ContextExceeded(
            f"a context of {options.context_length} tokens needs {wanted / 2**30:.1f} GiB for the "
            f"KV cache, and {free / 2**30:.1f} GiB of memory are free",
            hint="Use a smaller -c/--context-length.",
        )
    return choice.engine(model, options)


@contextmanager
def open_tokenizer(engine: type[Engine], model: GGUF) -> Iterator[Engine]:
    """Open `engine` on `model`'s vocabulary alone: exact token counts, no weights read."""
    with scratch_folder() as folder:
        stub = folder / "vocabulary.gguf"
        try:
            write_vocabulary_model(model, stub)
        except OSError as error:
            raise EngineFailed(
                f"the vocabulary cannot be written to {folder}: {error}",
                hint="Set TMPDIR to a folder on a disk with free space.",
            ) from error
        with engine(read_gguf(stub), LoadOptions(context_length=512, threads=1)) as tokenizer:
            yield tokenizer
