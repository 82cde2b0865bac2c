"""What each engine and the NVIDIA driver say of this machine, for `doctor` and `recommend`.

It is asked in a child process: a driver whose GPU has gone can keep a call for ever.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from mistral_cli.engines import cuda
from mistral_cli.engines.child import child_command
from mistral_cli.engines.gpu import Gpu
from mistral_cli.engines.registry import AUTOMATIC, engine_class

_SECONDS = 30.0
_PACKAGES = {"llama.cpp": "xllamacpp", "ctransformers": "ctransformers"}


@dataclass(frozen=True)
class EngineState:
    """One engine here: why it cannot be used, why it has no GPU, and its GPUs if it has."""

    package: str
    version: str | None
    missing: str | None
    no_gpu: str | None
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Survey:
    """All engines, in the order in which `auto` prefers them, and the driver."""

    engines: dict[str, EngineState]
    driver: cuda.Driver

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs of the first engine that has any."""
        return next((state.gpus for state in self.engines.values() if state.gpus), ())


def survey() -> Survey:
    """Ask in this process."""
    return Survey({name: _state(name) for name in AUTOMATIC}, cuda.ask())


def ask_child(seconds: float = _SECONDS) -> Survey:
    """Ask in a child process, which has `seconds` to answer."""
    command, environment = child_command("mistral_cli.engines.survey")
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = child.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        child.kill()  # and not waited for: a process that hangs in the driver does not end
        return _unanswered(f"the GPU driver has not answered within {seconds:.0f} seconds")
    if child.returncode:
        return _unanswered(f"asking the GPU driver ended the process ({child.returncode})")
    return _parse(json.loads(answer))


def _state(name: str) -> EngineState:
    engine, package = engine_class(name), _PACKAGES[name]
    missing, no_gpu = engine.missing(), engine.no_gpu()
    return EngineState(package, _version(package), missing, no_gpu, () if no_gpu else engine.gpus())


def _unanswered(problem: str) -> Survey:
    states = {
        name: EngineState(package, _version(package), _not_installed(package), problem, ())
        for name, package in _PACKAGES.items()
    }
    return Survey(states, cuda.Driver(problem))


def _not_installed(package: str) -> str | None:
    return None if _version(package) else f"the package {package} is not installed"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _parse(answer: dict[str, Any]) -> Survey:
    driver = answer["driver"]
    version = driver["cuda_version"]
    gpus = tuple(
        cuda.CudaGpu(**{**gpu, "compute_capability": tuple(gpu["compute_capability"])})
        for gpu in driver["gpus"]
    )
    states = {
        name: EngineState(**{**state, "gpus": tuple(_gpu(gpu) for gpu in state["gpus"])})
        for name, state in answer["engines"].items()
    }
    return Survey(states, cuda.Driver(driver["problem"], version and tuple(version), gpus))


def _gpu(values: dict[str, Any]) -> Gpu:
    return Gpu(values["name"], values["memory_total"], values["memory_free"])


if __name__ == "__main__":
    json.dump(asdict(survey()), sys.stdout)
