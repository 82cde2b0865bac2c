"""Which engine serves a request, and how many layers it puts on the GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.engines.gpu_layers import AUTO, NONE, GpuLayers
from mistral_cli.engines.hardware.gpu import (
    Gpu,
    layers_that_fit,
    report_memory,
    too_full,
)
from mistral_cli.engines.registry import DEFAULT, automatic, backend
from mistral_cli.errors import GpuRequired, ModelUnusable, UsageError

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.probe import EngineState, HardwareReport
    from mistral_cli.engines.protocol import Backend
    from mistral_cli.models.gguf import GGUF

_NAMED = "named by --engine"
_DROP_IT = "Drop --require-gpu to use the CPU; `mistral-cli doctor` shows what is missing."


@dataclass(frozen=True)
class EngineRequirements:
    """What a call requires of its engine: its `name` or "auto", and what it must be able to do.

    With `require_gpu` some layers must be on a GPU. With `adapters` it must apply LoRA adapters,
    with `listening` it must be able to serve other processes, and with `dry` its sampler must have
    DRY.
    """

    name: str = "auto"
    gpu_layers: GpuLayers = AUTO
    require_gpu: bool = False
    adapters: bool = False
    listening: bool = False
    dry: bool = False

    def check(self) -> None:
        """Raise UsageError for what is impossible with any model."""
        engine = None if self.name == "auto" else backend(self.name)
        if engine and (problem := self.shortcoming(engine)):
            drop = ""
            if self.adapters and not engine.takes_adapters:
                drop = ", or drop --lora"
            elif self.dry and not engine.dry:
                drop = ", or leave dry_multiplier at 0"
            raise UsageError(f"{self.name} {problem}", hint=f"Use --engine {DEFAULT}{drop}.")
        if self.require_gpu and self.gpu_layers == NONE:
            raise UsageError("--require-gpu contradicts --gpu-layers 0", hint="Drop one of them.")

    def shortcoming(self, engine: Backend) -> str | None:
        """What `engine` cannot do, whatever the model, or None."""
        if self.adapters and not engine.takes_adapters:
            return "cannot add LoRA adapters"
        if self.listening and not engine.listens:
            return "cannot be served"
        if self.dry and not engine.dry:
            return "does not have the DRY sampler"
        return None


@dataclass(frozen=True)
class EngineSelection:
    """The engine for a request, why it was selected, and the layers it puts on the GPU.

    `gpu_reason` explains the number of layers. `warning` tells users that the CPU computes layers
    that they may expect on a GPU. `gpus` are those that the engine would use. `automatic_layers`
    have yet to be fitted (`fit_gpu_layers`). `served` marks a model that another process has
    loaded.
    """

    backend: Backend
    reason: str
    gpu_layers: int
    gpu_reason: str
    warning: str | None = None
    gpus: tuple[Gpu, ...] = ()
    automatic_layers: bool = False
    gpu_required: bool = False
    served: bool = False


def select_engine(
    requirements: EngineRequirements,
    model: GGUF,
    *,
    hardware: HardwareReport | None = None,
    unsupported: Mapping[str, str] | None = None,
) -> EngineSelection:
    """Pick the engine for `model`.

    "auto" takes the first that meets the requirements, in the order of the registry, and prefers
    the first of them that has a GPU. `hardware` is what we know of this machine; without it we
    look. `unsupported` tells which engines cannot run a model whose file is not here, and why.
    Raises UsageError, ModelUnusable if no engine can run it, and GpuRequired if a GPU is
    required and no engine has one.
    """
    requirements.check()
    usable, problems = _usable(requirements, model, hardware, unsupported)
    others = "".join(f"; {n} cannot: {p}" for n, p in problems.items())
    reason = f"the first that can run the model{others}" if requirements.name == "auto" else _NAMED
    note = usable[0].note()
    first = EngineSelection(
        usable[0],
        f"{reason}; {note}" if note else reason,
        requirements.gpu_layers.of(model),
        "--gpu-layers is 0",
        automatic_layers=requirements.gpu_layers.automatic,
        gpu_required=requirements.require_gpu,
    )
    if not first.gpu_layers:
        return first
    if hardware is None:
        from mistral_cli.engines.hardware.probe import probe

        hardware = probe([engine.name for engine in usable])
    return _with_gpu(first, model, usable, problems, hardware, requirements.gpu_layers)


def _usable(
    requirements: EngineRequirements,
    model: GGUF,
    hardware: HardwareReport | None,
    unsupported: Mapping[str, str] | None,
) -> tuple[list[Backend], dict[str, str]]:
    """The engines that meet the requirements, best first, and why others do not, by name."""
    usable: list[Backend] = []
    problems: dict[str, str] = {}
    for name in automatic() if requirements.name == "auto" else (requirements.name,):
        engine = backend(name)
        missing = _state(engine, hardware).missing if hardware else engine.missing()
        refusal = engine.unsupported(model) if unsupported is None else unsupported.get(name)
        shortcoming = requirements.shortcoming(engine)
        if problem := missing or refusal or (shortcoming and f"it {shortcoming}"):
            problems[name] = problem
        else:
            usable.append(engine)
    if not usable:
        message = f"no engine can run {model.path.name} ({_listed(problems)})"
        other = (
            "another file"
            if requirements.name == "auto"
            else "another model file, or --engine auto"
        )
        raise ModelUnusable(message, hint=f"Use {other}.")
    return usable, problems


def fit_gpu_layers(
    selection: EngineSelection, model: GGUF, context_length: int, parallel: int = 1
) -> EngineSelection:
    """`selection` with as many layers on the GPU as fit beside their KV caches.

    Only if the user left the number to us. Raises GpuRequired if a GPU is required and none fits.
    """
    if not (selection.automatic_layers and selection.gpu_layers):
        return selection
    gpus, everything, estimate = selection.gpus, selection.gpu_layers, selection.backend.memory
    names = _names(gpus)
    if not report_memory(gpus):
        return replace(selection, gpu_reason=f"all of them: {names} does not report its memory")
    layers = layers_that_fit(estimate, model, context_length, gpus, parallel)
    memory = estimate(model, context_length, max(layers, 1), parallel)
    usable = sum(gpu.usable for gpu in gpus)
    unknown = any(gpu.memory_free is None for gpu in gpus)
    reason = (
        f"{layers} of {everything} fit: {max(layers, 1)} take {memory.gpu / 2**30:.1f} GiB with "
        f"{context_length} tokens of context, and {usable / 2**30:.1f} GiB of {names} is usable"
        f"{' if nothing else runs there' if unknown else ''}"
    )
    if full := too_full(memory, gpus) if len(gpus) > 1 else ():
        reason += f"; {_names(full)} has no room for its buffers; hide it with CUDA_VISIBLE_DEVICES"
    if not layers and selection.gpu_required:
        raise GpuRequired(f"the GPU's memory is too small: {reason}", hint=_DROP_IT)
    warning = None if layers else f"the CPU computes all layers ({reason})"
    return replace(selection, gpu_layers=layers, gpu_reason=reason, warning=warning)


def _with_gpu(
    first: EngineSelection,
    model: GGUF,
    usable: Sequence[Backend],
    problems: Mapping[str, str],
    hardware: HardwareReport,
    gpu_layers: GpuLayers,
) -> EngineSelection:
    """`first`, or the first engine that has a GPU, in its place."""
    without: dict[str, str] = {}
    for engine in usable:
        state = _state(engine, hardware)
        if problem := state.no_gpu or engine.unsupported_on_gpu(model):
            without[engine.name] = problem
            continue
        return replace(
            first,
            backend=engine,
            reason=first.reason
            if engine is first.backend
            else "the first that can run the model on a GPU",
            gpu_reason=f"--gpu-layers is {gpu_layers}",
            gpus=state.gpus,
        )
    if first.gpu_required:
        raise GpuRequired(f"no GPU can be used ({_listed({**problems, **without})})", hint=_DROP_IT)
    reasons, warning = _listed(without), None
    if seen := _names(hardware.driver.gpus):
        warning = f"{seen} is not used, and the CPU computes all layers ({reasons})"
    elif not gpu_layers.automatic or hardware.broken:
        warning = f"no GPU can be used, so the CPU computes all layers ({reasons})"
    return replace(first, gpu_layers=0, gpu_reason=reasons, warning=warning)


def _state(engine: Backend, hardware: HardwareReport) -> EngineState:
    from mistral_cli.engines.hardware.probe import state_of

    return hardware.engines.get(engine.name) or state_of(engine.name)


def _names(gpus: Sequence[Gpu]) -> str:
    return ", ".join(gpu.name for gpu in gpus)


def _listed(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {problem}" for name, problem in problems.items())
