"""Whether a model can run here, on what, and what stands in the way. Loads no model."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli import __version__
from mistral_cli.diagnostics.fixes import Problem, gpu_problems
from mistral_cli.diagnostics.recommend import CONTEXT, Machine
from mistral_cli.engines.hardware.probe import HardwareReport, package_version
from mistral_cli.engines.llama_cpp import build as native_build
from mistral_cli.engines.registry import BACKENDS, DEFAULT, backend, unsupported
from mistral_cli.engines.selection import EngineRequirements, fit_gpu_layers, select_engine
from mistral_cli.errors import ExitCode, MistralCliError, ModelNotAvailable
from mistral_cli.models.catalog import find_built_in
from mistral_cli.models.disk import format_size, free_space
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.models.hub.api import is_offline
from mistral_cli.models.hub.cache import cache_folder
from mistral_cli.models.references import parse_reference
from mistral_cli.models.sources import LocalFile

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.hardware.memory import Memory
    from mistral_cli.system.config import Config

_PACKAGES = ("huggingface_hub", "llguidance")  # beside those of the engines
_LATER = "known for sure once the file is here"
_PULL = "mistral-cli models pull"
_NO_GPU = "Use a machine with a GPU, or drop --require-gpu."
_ANOTHER = "mistral-cli models recommend"


@dataclass(frozen=True)
class ModelState:
    """The model: its file if it is here, else what is known of it; sizes in bytes.

    `unsupported` says which engines cannot run it, and why.
    """

    reference: str
    source: str | None = None
    path: Path | None = None
    header: GGUF | None = None
    unsupported: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """Of the file."""
        return self.header.file_size if self.header else None


@dataclass(frozen=True)
class Use:
    """What would run the model: `gpu_layers` of its `layers` on the GPUs of the engine."""

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
    """llama.cpp built for this machine: which, and why it is not used or that there is none."""

    build: native_build.Build | None
    problem: str | None


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `doctor` tells."""

    python: str
    platform: str
    packages: dict[str, str | None]
    survey: HardwareReport
    machine: Machine
    machine_build: MachineBuild
    model: ModelState
    use: Use | None
    problems: tuple[Problem, ...]

    @property
    def exit_code(self) -> ExitCode:
        """Of the first problem that keeps the model from running."""
        codes = (problem.exit_code for problem in self.problems)
        return next((code for code in codes if code), ExitCode.SUCCESS)


def diagnose(
    reference: str, config: Config, survey: HardwareReport, *, require_gpu: bool
) -> Diagnosis:
    """Look at this machine and at the model that `reference` names."""
    machine, build = Machine.this(survey), MachineBuild(*native_build.find())
    model, use = ModelState(reference), None
    problems: list[Problem] = []
    try:
        model = _model(reference, config)
        problems += _missing_file(model)
        use = _use(model, config, survey)
    except MistralCliError as error:
        problems.append(Problem(error.message, error.hint, error.exit_code))
    readers = [
        name
        for name in survey.engines
        if name not in model.unsupported and config.engine in ("auto", name)
    ]
    on_gpus = gpu_problems(survey, readers)
    problems += [*_engine_problems(survey), *_memory_problems(use, machine), *on_gpus]
    problems += _layer_problems(model, use, survey, on_gpus, required=require_gpu)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    names = [*filter(None, (backend(name).package for name in BACKENDS)), *_PACKAGES]
    packages = {"mistral-cli": __version__, **{name: package_version(name) for name in names}}
    return Diagnosis(python, system, packages, survey, machine, build, model, use, tuple(problems))


def _model(reference: str, config: Config) -> ModelState:
    source = parse_reference(reference, config)
    path = source.locate()
    if path:
        header = read_gguf(path)
        return ModelState(reference, source.describe(), path, header, unsupported(header))
    if isinstance(source, LocalFile):
        raise ModelNotAvailable(f"there is no file {source.path}", hint="mistral-cli models list")
    known = find_built_in(reference)
    if known is None:
        return ModelState(reference, source.describe())
    return ModelState(reference, source.describe(), None, known.header(), unsupported(known))


def _missing_file(model: ModelState) -> list[Problem]:
    if model.path:
        return []
    what, mend = f"{model.reference} is not on this machine", f"{_PULL} {model.reference}"
    code = ExitCode.MODEL_NOT_AVAILABLE
    if is_offline():
        what, mend = f"{what}, and HF_HUB_OFFLINE is set", f"unset HF_HUB_OFFLINE; {mend}"
        return [Problem(what, mend, code)]
    free = free_space(cache_folder())
    if model.size and model.size > free:
        what += f" and does not fit on the disk: {format_size(free)} are free in {cache_folder()}"
        return [Problem(what, "Free some space, or set HF_HOME to a larger disk.", code)]
    return [Problem(what, mend)]


def _engine_problems(survey: HardwareReport) -> list[Problem]:
    if _nothing_installed(survey):
        what = "no engine is installed"
        return [Problem(what, f"pip install {backend(DEFAULT).package}", ExitCode.MODEL_UNUSABLE)]
    return []


def _nothing_installed(survey: HardwareReport) -> bool:
    return all(state.missing for state in survey.engines.values())


def _use(model: ModelState, config: Config, survey: HardwareReport) -> Use | None:
    """What would run the model; for a file that is not here, from what is known of it."""
    header = model.header
    if header is None or _nothing_installed(survey):
        return None
    wanted = EngineRequirements(config.engine)
    selection = select_engine(wanted, header, survey=survey, unsupported=model.unsupported)
    context = min(CONTEXT, header.context_length)
    selection = fit_gpu_layers(selection, header, context)
    return Use(
        selection.backend.name,
        selection.reason if model.path else f"{selection.reason}; {_LATER}",
        header.block_count + 1,
        selection.gpu_layers,
        selection.gpu_reason,
        selection.gpus,
        context,
        selection.backend.memory(header, context, selection.gpu_layers),
    )


def _layer_problems(
    model: ModelState,
    use: Use | None,
    survey: HardwareReport,
    on_gpus: Sequence[Problem],
    *,
    required: bool,
) -> list[Problem]:
    """Layers that the CPU must compute although there is a GPU, or although one must."""
    if use is None:
        unknown = model.header is None and survey.gpus  # a file that only the hub knows
        if unknown or not required:
            return []
        return [Problem("no layer would be on a GPU", _NO_GPU, ExitCode.GPU_REQUIRED)]
    code = ExitCode.GPU_REQUIRED if required and not use.gpu_layers else ExitCode.SUCCESS
    if use.gpus and use.gpu_layers < use.layers:
        what = f"{use.gpu_layers} of {use.layers} layers would be on a GPU"
        return [Problem(what, _ANOTHER, code)]
    mend = on_gpus[-1].mend if on_gpus else _NO_GPU
    return [Problem("no layer would be on a GPU", mend, code)] if code else []


def _memory_problems(use: Use | None, machine: Machine) -> list[Problem]:
    if not use or machine.memory is None or use.memory.ram <= machine.memory:
        return []
    lacking = (use.memory.ram - machine.memory) / 2**30
    what = f"the model needs {use.memory.ram / 2**30:.1f} GiB of memory, {lacking:.1f} too many"
    return [Problem(what, _ANOTHER, ExitCode.CONTEXT_EXCEEDED)]
