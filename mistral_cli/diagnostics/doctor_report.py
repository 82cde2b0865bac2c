"""Prints what `doctor` found, for a person or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mistral_cli.diagnostics.recommend_report import gib, gpu_fields, memory_fields
from mistral_cli.engines.llama_cpp.machine_build import gain
from mistral_cli.system.controls import as_cell
from mistral_cli.system.stdout import write, write_envelope

if TYPE_CHECKING:
    from mistral_cli.diagnostics.doctor import (
        Diagnosis,
        MachineBuild,
        ModelState,
        Projection,
        ServerState,
    )
    from mistral_cli.engines.hardware.cuda import Driver
    from mistral_cli.engines.hardware.gpu import Gpu
    from mistral_cli.engines.hardware.probe import EngineState
    from mistral_cli.system.terminal import Terminal

_WIDTH = 16


def print_diagnosis(terminal: Terminal, diagnosis: Diagnosis, *, as_json: bool) -> None:
    """Print everything, with the problems and their fixes last."""
    if as_json:
        write_envelope(terminal, _envelope(diagnosis))
        return
    lines = [f"{name:<{_WIDTH}}{as_cell(text)}\n" for name, text in _lines(diagnosis)]
    write(terminal, "".join(lines))


def _lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    hardware, model = diagnosis.hardware, diagnosis.model
    packages = (
        f"{name} {version or 'not installed'}" for name, version in diagnosis.packages.items()
    )
    memory = hardware.memory_available
    yield "system", f"{diagnosis.platform}, {diagnosis.python}"
    yield "packages", ", ".join(packages)
    yield "memory", f"{gib(memory) if memory is not None else 'unknown'} available"
    free = diagnosis.free_cores
    yield "cores", f"{hardware.cores}{f', {free:.1f} of them free now' if free is not None else ''}"
    yield "NVIDIA driver", _driver(hardware.driver)
    for gpu in hardware.driver.gpus:
        yield "GPU", _gpu(gpu)
    for name, state in hardware.engines.items():
        yield name, _engine(state, hardware.driver)
    yield "machine build", _machine_build(diagnosis.machine_build)
    yield "model", _model(model)
    for server in diagnosis.servers:
        yield "server", server.summary
    if projection := diagnosis.projection:
        yield "would use", f"{projection.engine} ({projection.reason})"
        yield "GPU layers", _gpu_layers(projection)
        yield "would need", _needs(projection)
    for problem in diagnosis.problems:
        yield "problem" if problem.exit_code else "note", problem.message
        yield "  fix", problem.fix
    if diagnosis.servers:
        yield "verdict", "a server cannot answer" if diagnosis.exit_code else "the servers answer"
        return
    verdict = "cannot run here" if diagnosis.exit_code else "can run here"
    yield "verdict", f"{model.reference} {verdict}"


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


def _machine_build(machine_build: MachineBuild) -> str:
    build = machine_build.build
    if build is None or machine_build.problem:
        return f"{machine_build.problem or 'none'}; {gain()}"
    note = build.improvable()
    details = f"{', with CUDA' if build.cuda else ''}{f'; {note}' if note else ''}"
    return f"llama.cpp {build.llama_cpp}{details}"


def _model(model: ModelState) -> str:
    path = str(model.path) if model.path else "not on this machine"
    size = f", {model.size / 1e9:.2f} GB" if model.size else ""
    return f"{model.reference}: {path}{size}"


def _gpu_layers(projection: Projection) -> str:
    layers = f"{projection.gpu_layers} of {projection.layers}"
    # Without a GPU the lines of the engines have given the reason.
    return f"{layers} ({projection.gpu_reason})" if projection.gpus else layers


def _needs(projection: Projection) -> str:
    memory = projection.memory
    gpu = f", {gib(memory.gpu)} of GPU memory" if memory.gpu else ""
    return f"{gib(memory.ram)} of memory{gpu} with {projection.context_length:,} tokens of context"


def _envelope(diagnosis: Diagnosis) -> dict[str, Any]:
    hardware = diagnosis.hardware
    return {
        "exit_code": int(diagnosis.exit_code),
        "runs": not diagnosis.exit_code,
        "platform": diagnosis.platform,
        "python": diagnosis.python,
        "packages": diagnosis.packages,
        "memory_available": hardware.memory_available,
        "cores": hardware.cores,
        "cores_free": None if diagnosis.free_cores is None else round(diagnosis.free_cores, 2),
        "machine_build": _machine_build_fields(diagnosis.machine_build),
        "driver": _driver_fields(hardware.driver),
        "engines": {name: _engine_fields(state) for name, state in hardware.engines.items()},
        "model": _model_fields(diagnosis.model),
        "servers": [_server_fields(state) for state in diagnosis.servers],
        "would_use": diagnosis.projection and _projection_fields(diagnosis.projection),
        "problems": [
            {
                "what": problem.message,
                "fix": problem.fix,
                "exit_code": int(problem.exit_code),
            }
            for problem in diagnosis.problems
        ],
    }


def _server_fields(state: ServerState) -> dict[str, Any]:
    return {
        "url": state.url,
        "problem": state.problem,
        "kind": state.kind,
        "version": state.version,
        "model": state.model,
        "context_length": state.context_length,
        "slots": state.slots,
        "prompted_as": state.prompted_as,
    }


def _machine_build_fields(machine_build: MachineBuild) -> dict[str, Any]:
    build = machine_build.build
    return {
        "build": build
        and {
            "source": build.source,
            "llama_cpp": build.llama_cpp,
            "instructions": build.instructions,
            "cuda": build.cuda,
            "options": build.options,
        },
        "problem": machine_build.problem,
    }


def _driver_fields(driver: Driver) -> dict[str, Any]:
    return {
        "problem": driver.problem,
        "obstacle": driver.obstacle,
        "cuda_version": driver.cuda_version,
        "gpus": [
            {
                **gpu_fields(gpu),
                "compute_capability": gpu.compute_capability,
                "mig": gpu.mig,
            }
            for gpu in driver.gpus
        ],
    }


def _engine_fields(state: EngineState) -> dict[str, Any]:
    return {
        "package": state.package,
        "missing": state.missing,
        "no_gpu": state.no_gpu,
        "gpus": [gpu_fields(gpu) for gpu in state.gpus],
        "version": state.version,
    }


def _model_fields(model: ModelState) -> dict[str, Any]:
    return {
        "reference": model.reference,
        "source": model.source,
        "path": str(model.path) if model.path else None,
        "size": model.size,
        "quantization": model.header.quantization if model.path and model.header else None,
    }


def _projection_fields(projection: Projection) -> dict[str, Any]:
    return {
        "engine": projection.engine,
        "reason": projection.reason,
        "layers": projection.layers,
        "gpu_layers": projection.gpu_layers,
        "gpu_reason": projection.gpu_reason,
        "gpus": [gpu_fields(gpu) for gpu in projection.gpus],
        "context_length": projection.context_length,
        "memory": memory_fields(projection.memory),
    }
