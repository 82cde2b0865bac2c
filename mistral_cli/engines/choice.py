"""Which engine serves a request, and how many layers it puts on the GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mistral_cli.engines.base import Engine
from mistral_cli.engines.gpu import layers_that_fit
from mistral_cli.engines.registry import AUTOMATIC, engine_class
from mistral_cli.errors import GpuRequired, ModelUnusable, UsageError
from mistral_cli.gguf import GGUF
from mistral_cli.memory import needed

_DROP_IT = "Drop --require-gpu for the CPU; `mistral-cli doctor` says what is missing."


@dataclass(frozen=True)
class Choice:
    """The engine for a request, why it was taken, and the layers it puts on the GPU.

    `gpu_reason` says why it is that many layers. `warning` tells the user that the layers
    asked for stay on the CPU. `automatic_layers` are yet to be fitted, by `place`.
    """

    engine: type[Engine]
    reason: str
    gpu_layers: int
    gpu_reason: str
    warning: str | None = None
    automatic_layers: bool = False
    gpu_required: bool = False


def check_names(name: str, gpu_layers: str) -> None:
    """Raise UsageError for what `choose` would refuse whatever the model."""
    if name != "auto":
        engine_class(name)
    check_gpu_layers(gpu_layers)


def check_gpu_layers(gpu_layers: str) -> None:
    """Raise UsageError for what is neither a number nor "auto" nor "all"."""
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
    candidates = AUTOMATIC if name == "auto" else (name,)
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


def place(choice: Choice, model: GGUF, context_length: int, parallel: int = 1) -> Choice:
    """`choice` with as many layers on the GPU as fit beside their KV caches.

    Only where the user left it to us. Raises GpuRequired where none fits and one must.
    """
    if not (choice.automatic_layers and choice.gpu_layers):
        return choice
    gpus, everything = choice.engine.gpus(), choice.gpu_layers
    names = ", ".join(gpu.name for gpu in gpus)
    if not any(gpu.memory_total for gpu in gpus):  # some drivers do not tell
        return replace(choice, gpu_reason=f"all of them: {names} does not tell its memory")
    layers = layers_that_fit(model, context_length, gpus, parallel)
    usable = sum(gpu.usable for gpu in gpus)
    wanted = needed(model, context_length, max(layers, 1), parallel).gpu
    unknown = any(gpu.memory_free is None for gpu in gpus)
    reason = (
        f"{layers} of {everything} fit: {max(layers, 1)} take {wanted / 2**30:.1f} GiB with "
        f"{context_length} tokens of context, and {usable / 2**30:.1f} GiB of {names} can be used"
        f"{' if nothing else runs there' if unknown else ''}"
    )
    if not layers and choice.gpu_required:
        raise GpuRequired(f"the GPU's memory is too small: {reason}", hint=_DROP_IT)
    return replace(choice, gpu_layers=layers, gpu_reason=reason)


def _with_gpu(
    usable: list[type[Engine]],
    problems: dict[str, str],
    model: GGUF,
    gpu_layers: str,
    require_gpu: bool,
    *,
    automatic: bool,
) -> Choice:
    layers = layers_of(model, gpu_layers)
    without: dict[str, str] = {}
    for engine in usable if layers else ():
        if problem := engine.no_gpu():
            without[engine.name] = problem
        else:
            why = "the first that can run the model on a GPU" if automatic else "named by --engine"
            asked = f"--gpu-layers is {gpu_layers}"
            return Choice(
                engine,
                why,
                layers,
                asked,
                automatic_layers=gpu_layers == "auto",
                gpu_required=require_gpu,
            )
    reasons = "; ".join(f"{n}: {p}" for n, p in (problems | without).items())
    reason = reasons if layers else "--gpu-layers is 0"
    if require_gpu:
        raise GpuRequired(f"no GPU can be used ({reason})", hint=_DROP_IT)
    others = "".join(f"; {n} cannot: {p}" for n, p in problems.items())
    why = f"the first that can run the model{others}" if automatic else "named by --engine"
    asked_for = layers and gpu_layers != "auto"
    warning = f"no GPU can be used, so the CPU computes all layers ({reasons})"
    return Choice(usable[0], why, 0, reason, warning if asked_for else None)


def layers_of(model: GGUF, gpu_layers: str) -> int:
    """How many layers are meant, at most all; the output layer counts as one more."""
    everything = model.block_count + 1
    if gpu_layers in ("auto", "all"):
        return everything
    return min(int(gpu_layers), everything)
