"""Ask each engine and NVIDIA's driver about the GPUs of this machine.

A child process asks the driver: a driver whose GPU has failed may never return from a call, and
a library that finds a problem may end the process that calls it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import util
from typing import Any

from mistral_cli.engines.hardware import cuda
from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.isolated.children import child_command
from mistral_cli.engines.protocol import package_version
from mistral_cli.engines.registry import automatic, backend
from mistral_cli.system.machine import available_memory, usable_cores

_SECONDS = 30.0


@dataclass(frozen=True)
class EngineState:
    """One engine on this machine: why it cannot be used, why it has no GPU, and its GPUs."""

    package: str
    missing: str | None
    no_gpu: str | None
    gpus: tuple[Gpu, ...]

    @property
    def version(self) -> str | None:
        """The version of its package, or None if that is not installed or there is none."""
        return package_version(self.package) if self.package else None


@dataclass(frozen=True)
class HardwareReport:
    """The engines, in the order in which `auto` prefers them, the driver, memory and cores.

    `memory_available` is in bytes; None means unknown.
    """

    engines: dict[str, EngineState]
    driver: cuda.Driver
    unanswered: bool = False
    memory_available: int | None = field(default_factory=available_memory)
    cores: int = field(default_factory=usable_cores)

    @property
    def broken(self) -> bool:
        """Whether a driver that should offer a GPU fails to."""
        return self.unanswered or self.driver.obstacle is cuda.Obstacle.FAILED

    @property
    def gpu_engine(self) -> str | None:
        """The first engine that has a GPU."""
        return next((name for name, state in self.engines.items() if state.gpus), None)

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs of the first engine that has any."""
        return self.engines[self.gpu_engine].gpus if self.gpu_engine else ()


def probe(names: Sequence[str]) -> HardwareReport:
    """Report on the engines `names`, from a child process if a driver must be asked.

    On a machine without a driver it starts no process.
    """
    if any(name in automatic() for name in names) and _a_driver_is_there(names):
        return probe_in_child()
    return HardwareReport({name: state_of(name) for name in names}, cuda.no_driver())


def probe_here() -> HardwareReport:
    """Report on all engines, from this process."""
    return HardwareReport({name: state_of(name) for name in automatic()}, cuda.query_driver())


def probe_in_child(seconds: float | None = None) -> HardwareReport:
    """Report on all engines from a child process, which has some seconds to answer."""
    command, environment = child_command("mistral_cli.engines.hardware.probe")
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    seconds = seconds or _SECONDS
    try:
        answers = child.communicate(timeout=seconds)[0]
        problem = f"asking the GPU driver ended the process ({child.returncode})"
    except subprocess.TimeoutExpired as error:
        child.kill()  # without waiting: a process that hangs in the driver does not end
        answers = error.output or b""
        problem = f"the GPU driver has not answered within {seconds:.0f} seconds"
    return _parse(answers, problem)


def _a_driver_is_there(names: Iterable[str]) -> bool:
    return cuda.driver_is_there() or any(backend(n).loads_gpu_driver() for n in names)


def state_of(name: str) -> EngineState:
    """The state of one engine, asked in this process."""
    engine = backend(name)
    missing, no_gpu = engine.missing(), engine.no_gpu()
    return EngineState(engine.package, missing, no_gpu, () if no_gpu else engine.gpus())


def _parse(answers: bytes, problem: str) -> HardwareReport:
    """The report in `answers`; `problem` is why parts of it are missing."""
    found: dict[str, Any] = {}
    for line in answers.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            found.update(json.loads(line))
    states = {name: _engine_state(found.get(name), name, problem) for name in automatic()}
    failed = cuda.Driver(problem, cuda.Obstacle.FAILED)
    driver = _driver(found["driver"]) if "driver" in found else failed
    return HardwareReport(states, driver, unanswered=found.keys() != {"driver", *automatic()})


def _engine_state(answer: dict[str, Any] | None, name: str, problem: str) -> EngineState:
    if answer:
        return EngineState(**{**answer, "gpus": tuple(_gpu(gpu) for gpu in answer["gpus"])})
    package = backend(name).package
    absent = package and util.find_spec(package) is None
    missing = f"the package {package} is not installed" if absent else None
    return EngineState(package, missing, missing or problem, ())


def _driver(answer: dict[str, Any]) -> cuda.Driver:
    version, obstacle = answer["cuda_version"], answer["obstacle"]
    gpus = tuple(
        cuda.CudaGpu(**{**gpu, "compute_capability": tuple(gpu["compute_capability"])})
        for gpu in answer["gpus"]
    )
    return cuda.Driver(
        answer["problem"], obstacle and cuda.Obstacle(obstacle), version and tuple(version), gpus
    )


def _gpu(values: dict[str, Any]) -> Gpu:
    return Gpu(values["name"], values["memory_total"], values["memory_free"])


def _answers() -> Iterator[dict[str, Any]]:
    """The parts of a report, one by one: asking an engine may end the process."""
    yield {"driver": asdict(cuda.query_driver())}
    for name in reversed(automatic()):  # the first ones are not known to end the process
        yield {name: asdict(state_of(name))}


def _main() -> None:
    # The output of native libraries must not get between the answers.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for answer in _answers():
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    _main()
