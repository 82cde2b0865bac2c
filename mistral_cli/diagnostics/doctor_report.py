"""What `doctor` found: for a person, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mistral_cli.diagnostics.recommend_report import gib
from mistral_cli.engines.llama_cpp import build as native_build
from mistral_cli.system.stdout import write, write_envelope
from mistral_cli.system.wrap import without_controls

if TYPE_CHECKING:
    from mistral_cli.diagnostics.doctor import Diagnosis, MachineBuild, Use
    from mistral_cli.engines.hardware.cuda import Driver
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.hardware.probe import EngineState
    from mistral_cli.system.terminal import Terminal

_WIDTH = 16


def print_diagnosis(terminal: Terminal, found: Diagnosis, *, as_json: bool) -> None:
    """Print everything, the problems and what mends them last."""
    if as_json:
        write_envelope(terminal, _envelope(found))
        return
    lines = [f"{name:<{_WIDTH}}{without_controls(text)}\n" for name, text in _lines(found)]
    write(terminal, "".join(lines))


def _lines(found: Diagnosis) -> Iterator[tuple[str, str]]:
    packages = [f"{name} {version or 'not installed'}" for name, version in found.packages.items()]
    memory = found.machine.memory
    yield "system", f"{found.platform}, {found.python}"
    yield "packages", ", ".join(packages)
    yield "memory", f"{gib(memory) if memory is not None else 'unknown'} available"
    yield "cores", str(found.machine.cores)
    yield "NVIDIA driver", _driver(found.survey.driver)
    for gpu in found.survey.driver.gpus:
        yield "GPU", _gpu(gpu)
    for name, state in found.survey.engines.items():
        yield name, _engine(state, found.survey.driver)
    yield "machine build", _machine_build(found.machine_build)
    yield "model", _model(found)
    if use := found.use:
        yield "would use", f"{use.engine} ({use.reason})"
        yield "GPU layers", f"{use.gpu_layers} of {use.layers}{_why_so_many(use)}"
        yield "would need", _needs(found)
    for problem in found.problems:
        yield "problem" if problem.exit_code else "note", problem.what
        yield "  mend it", problem.mend
    verdict = "cannot run here" if found.exit_code else "can run here"
    yield "verdict", f"{found.model.reference} {verdict}"


def _driver(driver: Driver) -> str:
    if driver.cuda_version is None:
        return driver.problem or "unknown"
    version = "for CUDA {}.{}".format(*driver.cuda_version)
    return f"{version}; {driver.problem}" if driver.problem else version


def _gpu(gpu: Gpu) -> str:
    free = "unknown" if gpu.memory_free is None else gib(gpu.memory_free)
    return f"{gpu.name}: {free} of {gib(gpu.memory_total)} free, {gib(gpu.usable)} for a model"


def _engine(state: EngineState, driver: Driver) -> str:
    if state.missing:
        return state.missing
    if state.no_gpu:
        return "no GPU" if state.no_gpu == driver.problem else f"no GPU: {state.no_gpu}"
    return "; ".join(map(_gpu, state.gpus))


def _machine_build(found: MachineBuild) -> str:
    if found.build is None or found.problem:
        return f"{found.problem or 'none'}; {native_build.gain()}"
    return f"llama.cpp {found.build.llama_cpp}{', with CUDA' if found.build.cuda else ''}"


def _why_so_many(use: Use) -> str:
    """Nothing where there is no GPU: the lines of the engines have said why."""
    return f" ({use.gpu_reason})" if use.gpus else ""


def _model(found: Diagnosis) -> str:
    model = found.model
    place = str(model.path) if model.path else "not on this machine"
    size = f", {model.size / 1e9:.2f} GB" if model.size else ""
    return f"{model.reference}: {place}{size}"


def _needs(found: Diagnosis) -> str:
    assert found.use
    memory = found.use.memory
    gpu = f", {gib(memory.gpu)} of GPU memory" if memory.gpu else ""
    return f"{gib(memory.ram)} of memory{gpu} with {found.use.context_length:,} tokens of context"


def _envelope(found: Diagnosis) -> dict[str, Any]:
    model, use = found.model, found.use
    needs = use and {**asdict(use.memory), "ram": use.memory.ram, "gpu": use.memory.gpu}
    return {
        "exit_code": int(found.exit_code),
        "runs": not found.exit_code,
        "platform": found.platform,
        "python": found.python,
        "packages": found.packages,
        "memory_available": found.machine.memory,
        "cores": found.machine.cores,
        "machine_build": asdict(found.machine_build),
        "driver": asdict(found.survey.driver),
        "engines": {
            name: {**asdict(state), "version": state.version}
            for name, state in found.survey.engines.items()
        },
        "model": {
            "reference": model.reference,
            "source": model.source,
            "path": str(model.path) if model.path else None,
            "size": model.size,
            "quantization": model.header.quantization if model.path and model.header else None,
        },
        "would_use": use and {**asdict(use), "memory": needs},
        "problems": [asdict(problem) for problem in found.problems],
    }
