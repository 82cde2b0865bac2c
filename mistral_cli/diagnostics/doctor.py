"""Checks whether a model can run here, on which engine, and what prevents it. Loads no model."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli import __version__
from mistral_cli.diagnostics.fixes import Problem, gpu_problems
from mistral_cli.diagnostics.recommend import CONTEXT
from mistral_cli.engines.llama_cpp import machine_build
from mistral_cli.engines.protocol import package_version
from mistral_cli.engines.registry import BACKENDS, DEFAULT, backend, unsupported
from mistral_cli.engines.selection import EngineRequirements, fit_gpu_layers, select_engine
from mistral_cli.errors import ExitCode, MistralCliError
from mistral_cli.models.catalog import find_built_in
from mistral_cli.models.disk import format_size, free_space
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.models.hub.api import is_offline
from mistral_cli.models.hub.cache import cache_folder
from mistral_cli.models.references import parse_reference
from mistral_cli.models.sources import LocalFile
from mistral_cli.system.machine import free_cores, threads_for

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.hardware.memory import Memory
    from mistral_cli.engines.hardware.probe import HardwareReport
    from mistral_cli.system.config import Config
    from mistral_cli.system.machine import CpuTimes

_OTHER_PACKAGES = ("huggingface_hub", "llguidance")
_NO_LAYER_ON_GPU = "no layer would be on a GPU"
_NEEDS_GPU = "Use a machine with a GPU, or drop --require-gpu."
_SMALLER_MODEL = "mistral-cli models recommend"


@dataclass(frozen=True)
class ModelState:
    """The model: its file if it is on this machine, else what the catalog knows about it.

    `unsupported` maps the engines that cannot run it to the reason.
    """

    reference: str
    source: str | None = None
    path: Path | None = None
    header: GGUF | None = None
    unsupported: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """The size of the file in bytes, if known."""
        return self.header.file_size if self.header else None


@dataclass(frozen=True)
class Projection:
    """How the model would run: the engine, the layers on its GPUs, and the memory needed."""

    engine: str
    reason: str
    layers: int
    gpu_layers: int
    gpu_reason: str
    gpus: tuple[Gpu, ...]
    context_length: int
    memory: Memory


@dataclass(frozen=True)
class MachineBuild:
    """llama.cpp compiled on this machine, if any, and why it is missing or not used."""

    build: machine_build.Build | None
    problem: str | None


@dataclass(frozen=True)
class ServerState:
    """A server that would answer: what was found out about it, or why it cannot be used."""

    url: str
    problem: str | None = None
    kind: str | None = None
    version: str | None = None
    model: str | None = None
    context_length: int | None = None
    slots: int | None = None
    prompted_as: str | None = None
    summary: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `doctor` reports; `free_cores` are those that nothing else uses now."""

    python: str
    platform: str
    packages: dict[str, str | None]
    hardware: HardwareReport
    machine_build: MachineBuild
    model: ModelState
    projection: Projection | None
    problems: tuple[Problem, ...]
    servers: tuple[ServerState, ...] = ()
    free_cores: float | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The code of the first problem that prevents the model from running."""
        codes = (problem.exit_code for problem in self.problems)
        return next((code for code in codes if code), ExitCode.SUCCESS)


def diagnose(
    reference: str,
    config: Config,
    hardware: HardwareReport,
    *,
    require_gpu: bool,
    began: CpuTimes | None = None,
) -> Diagnosis:
    """Check this machine and the model that `reference` names.

    `began` is what the CPUs had done when the call began.
    """
    model, projection = ModelState(reference), None
    problems: list[Problem] = []
    try:
        model = _find_model(reference, config)
        problems += _file_problems(model)
        projection = _project(model, config, hardware)
        problems += _doubts(model, projection)
    except MistralCliError as error:
        problems.append(Problem(error.message, error.hint, error.exit_code))
    capable_engines = [
        name
        for name in hardware.engines
        if name not in model.unsupported and config.engine in ("auto", name)
    ]
    on_gpus = gpu_problems(hardware, capable_engines)
    problems += _engine_problems(hardware)
    problems += _memory_problems(projection, hardware)
    problems += on_gpus
    problems += _layer_problems(model, projection, hardware, on_gpus, required=require_gpu)
    free = free_cores(began) if began else None
    problems += _busy_cores(free, hardware.cores)
    engine_packages = (backend(name).package for name in BACKENDS)
    packages = [*filter(None, engine_packages), *_OTHER_PACKAGES]
    return Diagnosis(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{platform.system()} {platform.machine()}",
        packages={
            "mistral-cli": __version__,
            **{name: package_version(name) for name in packages},
        },
        hardware=hardware,
        machine_build=MachineBuild(*machine_build.find()),
        model=model,
        projection=projection,
        problems=tuple(problems),
        free_cores=free,
    )


def _find_model(reference: str, config: Config) -> ModelState:
    source = parse_reference(reference, config)
    path = source.locate()
    if path:
        header = read_gguf(path)
        return ModelState(reference, source.describe(), path, header, unsupported(header))
    if isinstance(source, LocalFile):
        raise source.missing()
    known = find_built_in(reference)
    if known is None:
        return ModelState(reference, source.describe())
    return ModelState(reference, source.describe(), None, known.header(), unsupported(known))


def _file_problems(model: ModelState) -> list[Problem]:
    if model.path:
        return []
    message = f"{model.reference} is not on this machine"
    fix = f"mistral-cli models pull {model.reference}"
    code = ExitCode.MODEL_NOT_AVAILABLE
    if is_offline():
        message += ", and HF_HUB_OFFLINE is set"
        return [Problem(message, f"unset HF_HUB_OFFLINE; {fix}", code)]
    free = free_space(cache_folder())
    if model.size and model.size > free:
        message += f" and does not fit on the disk: {format_size(free)} free in {cache_folder()}"
        return [Problem(message, "Free some space, or set HF_HOME to a larger disk.", code)]
    return [Problem(message, fix)]


def _doubts(model: ModelState, projection: Projection | None) -> list[Problem]:
    """What only a load shows: whether the engine knows what is newer than this program."""
    if not (projection and model.path and model.header):
        return []
    doubt = backend(projection.engine).doubt(model.header)
    return [Problem(doubt, f"mistral-cli generate Hi -n 1 -m {model.reference}")] if doubt else []


def _engine_problems(hardware: HardwareReport) -> list[Problem]:
    if _no_engine_installed(hardware):
        fix = f"pip install {backend(DEFAULT).package}"
        return [Problem("no engine is installed", fix, ExitCode.MODEL_UNUSABLE)]
    return []


def _no_engine_installed(hardware: HardwareReport) -> bool:
    return all(state.missing for state in hardware.engines.values())


def _project(model: ModelState, config: Config, hardware: HardwareReport) -> Projection | None:
    """How the model would run, estimated from the catalog if its file is not here."""
    header = model.header
    if header is None or _no_engine_installed(hardware):
        return None
    selection = select_engine(
        EngineRequirements(config.engine),
        header,
        hardware=hardware,
        unsupported=model.unsupported,
    )
    context = min(CONTEXT, header.context_length)
    selection = fit_gpu_layers(selection, header, context)
    reason = selection.reason
    if not model.path:
        reason += "; to be confirmed once the file is here"
    return Projection(
        engine=selection.backend.name,
        reason=reason,
        layers=header.block_count + 1,
        gpu_layers=selection.gpu_layers,
        gpu_reason=selection.gpu_reason,
        gpus=selection.gpus,
        context_length=context,
        memory=selection.backend.memory(header, context, selection.gpu_layers),
    )


def _memory_problems(projection: Projection | None, hardware: HardwareReport) -> list[Problem]:
    available = hardware.memory_available
    if not projection or available is None or projection.memory.ram <= available:
        return []
    needed = projection.memory.ram
    message = (
        f"the model needs {needed / 2**30:.1f} GiB of memory, "
        f"{(needed - available) / 2**30:.1f} GiB more than is available"
    )
    return [Problem(message, _SMALLER_MODEL, ExitCode.CONTEXT_EXCEEDED)]


def _busy_cores(free: float | None, cores: int) -> list[Problem]:
    if free is None or (threads := threads_for(free)) >= cores:
        return []
    count = "1 thread" if threads == 1 else f"{threads} threads"
    message = f"other programs use {cores - free:.1f} of {cores} cores: a call starts {count}"
    return [Problem(message, "Wait for them, or run those with nice, which makes them give way.")]


def _layer_problems(
    model: ModelState,
    projection: Projection | None,
    hardware: HardwareReport,
    on_gpus: Sequence[Problem],
    *,
    required: bool,
) -> list[Problem]:
    """Layers that the CPU would compute, if this machine has a GPU or one is `required`."""
    if projection is None:
        unknown = model.header is None and hardware.gpus  # only the hub knows the file
        if unknown or not required:
            return []
        return [Problem(_NO_LAYER_ON_GPU, _NEEDS_GPU, ExitCode.GPU_REQUIRED)]
    gpu_layers, layers = projection.gpu_layers, projection.layers
    code = ExitCode.GPU_REQUIRED if required and not gpu_layers else ExitCode.SUCCESS
    if projection.gpus and gpu_layers < layers:
        return [Problem(f"{gpu_layers} of {layers} layers would be on a GPU", _SMALLER_MODEL, code)]
    fix = on_gpus[-1].fix if on_gpus else _NEEDS_GPU
    return [Problem(_NO_LAYER_ON_GPU, fix, code)] if code else []
