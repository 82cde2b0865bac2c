"""What keeps a GPU from being used, and the command that mends it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.hardware.cuda import RUNTIME_COMMAND, Driver, Obstacle
from mistral_cli.engines.llama_cpp import build as native_build
from mistral_cli.errors import ExitCode

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.probe import EngineState, HardwareReport

# From xllamacpp's README; the wheels of the package index compute on the CPU, or with Metal.
_XLLAMACPP = (
    "pip install xllamacpp --force-reinstall "
    "--index-url https://xorbitsai.github.io/xllamacpp/whl/{}"
)
_XLLAMACPP_FOR_THE_CPU = "pip install --force-reinstall xllamacpp"

_MENDS = {
    Obstacle.NO_DEVICE: "nvidia-smi says more; a container needs --gpus all at its start",
    Obstacle.HIDDEN: "unset CUDA_VISIBLE_DEVICES",
    Obstacle.MIG: "nvidia-smi -L names the slices; CUDA_VISIBLE_DEVICES=MIG-… takes one",
    Obstacle.FAILED: "nvidia-smi says more; after an update of the driver, restart the machine",
}
"""Of a driver without GPUs; one that is absent needs none: most machines have no such GPU."""

_ROCM_DRIVER, _GRAPHICS = Path("/dev/kfd"), Path("/dev/dri/renderD128")


@dataclass(frozen=True)
class Problem:
    """What is wrong and what mends it; `exit_code` is 0 where the model runs all the same."""

    what: str
    mend: str
    exit_code: ExitCode = ExitCode.SUCCESS


def gpu_problems(survey: HardwareReport, readers: Collection[str]) -> list[Problem]:
    """Why none of the `readers`, the engines that can run the model, uses a GPU.

    As far as something can be done about it.
    """
    packages = [
        Problem(f"{name}: {state.missing}", mend)
        for name, state in survey.engines.items()
        if state.missing and (mend := _package_mend(name, state, survey.driver))
    ]
    if any(survey.engines[name].gpus for name in readers):
        return packages
    driver = survey.driver
    if driver.obstacle and driver.obstacle in _MENDS:
        return [*packages, Problem(driver.problem or "", _MENDS[driver.obstacle])]
    if driver.obstacle:
        return packages + _without_driver()
    ways = list(_ways(survey, readers))
    names = ", ".join(gpu.name for gpu in driver.gpus)
    what = f"no engine that can run the model uses {names}"
    return [*packages, Problem(what, " or ".join(ways))] if ways else packages


def _package_mend(name: str, state: EngineState, driver: Driver) -> str | None:
    if not state.package:
        return f"{native_build.SCRIPT} (from the source)"
    if state.version is None:
        return f"pip install {state.package}"
    if name != "llama.cpp":  # nothing but a library for another processor
        return None
    return (_llama_cpp_wheel(driver) if driver.gpus else None) or _XLLAMACPP_FOR_THE_CPU


def _ways(survey: HardwareReport, readers: Collection[str]) -> Iterator[str]:
    """What gives the `readers` the GPUs that the driver offers."""
    driver = survey.driver
    if "llama.cpp" in readers and (wheel := _llama_cpp_wheel(driver)):
        yield wheel
    ctransformers = "ctransformers" in readers and not survey.engines["ctransformers"].missing
    if ctransformers and not driver.too_weak:
        yield "Install NVIDIA's driver 525 or newer." if driver.too_old else RUNTIME_COMMAND
    elif "llama.cpp" in readers and not _llama_cpp_wheel(driver) and driver.weakest >= (5, 0):
        yield "Install NVIDIA's driver 570 or newer."


def _llama_cpp_wheel(driver: Driver) -> str | None:
    """The newest CUDA build that the driver and all GPUs can run; CUDA 13 left out older ones."""
    version = driver.cuda_version or (0, 0)
    if version >= (13, 2) and driver.weakest >= (7, 5):
        return _XLLAMACPP.format("cu132")
    if version >= (12, 8) and driver.weakest >= (5, 0):
        return _XLLAMACPP.format("cu128")
    return None


def _without_driver() -> list[Problem]:
    if _ROCM_DRIVER.exists():
        return [Problem("an AMD GPU is not used", _XLLAMACPP.format("rocm-7.2.4"))]
    if _GRAPHICS.exists():
        return [Problem("a graphics card is not used", _XLLAMACPP.format("vulkan"))]
    return []
