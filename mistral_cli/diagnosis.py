"""Whether a model can run here, on what, and what stands in the way. Loads no model."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mistral_cli import __version__
from mistral_cli.config import Config
from mistral_cli.engines import choose, place
from mistral_cli.engines.survey import Survey
from mistral_cli.errors import ExitCode, MistralCliError, ModelNotAvailable
from mistral_cli.gguf import GGUF
from mistral_cli.gguf import read as read_gguf
from mistral_cli.machine import available_memory, usable_cores
from mistral_cli.memory import Memory, needed
from mistral_cli.mending import Problem, gpu_problems
from mistral_cli.models import builtin
from mistral_cli.models.cache import cache_folder
from mistral_cli.models.hub import format_size, is_offline
from mistral_cli.models.references import parse
from mistral_cli.models.sources import LocalFile
from mistral_cli.models.space import free_space
from mistral_cli.recommend import CONTEXT, Machine, memory_on

_PACKAGES = ("xllamacpp", "ctransformers", "huggingface_hub", "llguidance")
_FIRST = "the first that is installed; known for sure once the file is here"
_PULL = "mistral-cli models pull"
_NO_GPU = "Use a machine with a GPU, or drop --require-gpu."
_ANOTHER = "mistral-cli models recommend"


@dataclass(frozen=True)
class ModelState:
    """The model: its file if it is here, else what is known of it; sizes in bytes."""

    reference: str
    source: str | None = None
    path: Path | None = None
    header: GGUF | None = None

    @property
    def size(self) -> int | None:
        """Of the file."""
        return self.header.file_size if self.header else None


@dataclass(frozen=True)
class Use:
    """What would run the model: `gpu_layers` of its `layers` on the GPU."""

    engine: str | None
    reason: str
    layers: int
    gpu_layers: int
    gpu_reason: str
    context_length: int
    memory: Memory


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `doctor` tells."""

    python: str
    platform: str
    packages: dict[str, str | None]
    survey: Survey
    machine: Machine
    model: ModelState
    use: Use | None
    problems: tuple[Problem, ...]

    @property
    def exit_code(self) -> ExitCode:
        """Of the first problem that keeps the model from running."""
        codes = (problem.exit_code for problem in self.problems)
        return next((code for code in codes if code), ExitCode.SUCCESS)


def diagnose(reference: str, config: Config, survey: Survey, *, require_gpu: bool) -> Diagnosis:
    """Look at this machine and at the model that `reference` names."""
    machine = Machine(available_memory(), survey.gpus, usable_cores())
    model, use = ModelState(reference), None
    problems: list[Problem] = []
    try:
        model = _model(reference, config)
        problems += _missing_file(model)
        use = _use(model, config, survey)
    except MistralCliError as error:
        problems.append(Problem(error.message, error.hint, error.exit_code))
    problems += [*_engine_problems(survey), *_memory_problems(use, machine), *gpu_problems(survey)]
    problems += _layer_problems(use, survey, required=require_gpu)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    packages = {"mistral-cli": __version__, **{name: _version(name) for name in _PACKAGES}}
    return Diagnosis(python, system, packages, survey, machine, model, use, tuple(problems))


def _model(reference: str, config: Config) -> ModelState:
    source = parse(reference, config)
    path = source.locate()
    if path:
        return ModelState(reference, source.describe(), path, read_gguf(path))
    if isinstance(source, LocalFile):
        raise ModelNotAvailable(f"there is no file {source.path}", hint="mistral-cli models list")
    known = builtin.find(reference)
    return ModelState(reference, source.describe(), None, known.header() if known else None)


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


def _engine_problems(survey: Survey) -> list[Problem]:
    if all(state.missing for state in survey.engines.values()):
        what = "no engine is installed"
        return [Problem(what, "pip install xllamacpp", ExitCode.MODEL_UNUSABLE)]
    return []


def _use(model: ModelState, config: Config, survey: Survey) -> Use | None:
    header = model.header
    if header is None:
        return None
    if model.path is None:
        return _use_later(header, survey)
    context = min(CONTEXT, header.context_length)
    choice = choose(config.engine, header, gpu_layers="auto", require_gpu=False)
    choice = place(choice, header, context)
    memory = needed(header, context, choice.gpu_layers)
    layers = header.block_count + 1
    return Use(
        choice.engine.name,
        choice.reason,
        layers,
        choice.gpu_layers,
        choice.gpu_reason,
        context,
        memory,
    )


def _use_later(header: GGUF, survey: Survey) -> Use:
    """A guess: which engine can run a file is known only of a file."""
    layers, memory = memory_on(header, survey.gpus, CONTEXT)
    usable = [name for name, state in survey.engines.items() if not state.missing]
    with_gpu = [name for name in usable if survey.engines[name].gpus]
    without = "; ".join(f"{name}: {s.no_gpu}" for name, s in survey.engines.items() if s.no_gpu)
    engine = next(iter(with_gpu or usable), None)
    everything = header.block_count + 1
    reason = f"{layers} of {everything} layers fit" if with_gpu else without
    return Use(engine, _FIRST, everything, layers, reason, CONTEXT, memory)


def _layer_problems(use: Use | None, survey: Survey, *, required: bool) -> list[Problem]:
    """Layers that the CPU must compute although there is a GPU, or although one must."""
    layers, why = (use.gpu_layers, use.gpu_reason) if use else (0, "no model can run")
    code = ExitCode.GPU_REQUIRED if required and not layers else ExitCode.SUCCESS
    if code or (use and survey.gpus and layers < use.layers):
        mend = _ANOTHER if survey.gpus else _NO_GPU
        return [Problem(f"{layers} layers would be on a GPU ({why})", mend, code)]
    return []


def _memory_problems(use: Use | None, machine: Machine) -> list[Problem]:
    if not use or machine.memory is None or use.memory.ram <= machine.memory:
        return []
    lacking = (use.memory.ram - machine.memory) / 2**30
    what = f"the model needs {use.memory.ram / 2**30:.1f} GiB of memory, {lacking:.1f} too many"
    return [Problem(what, _ANOTHER, ExitCode.CONTEXT_EXCEEDED)]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
