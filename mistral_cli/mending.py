"""What keeps a GPU from being used, and the command that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.engines.cuda import Driver
from mistral_cli.engines.survey import Survey
from mistral_cli.errors import ExitCode

# From xllamacpp's README; the wheels of the package index compute on the CPU, or with Metal.
_XLLAMACPP = (
    "pip install xllamacpp --force-reinstall "
    "--index-url https://xorbitsai.github.io/xllamacpp/whl/{}"
)
_CUDA_WHEELS = {(13, 2): "cu132", (12, 8): "cu128"}
_CTRANSFORMERS_CUDA = "pip install 'mistral-cli[cuda]'"
_NVIDIA_SMI = "nvidia-smi"

_ROCM_DRIVER, _GRAPHICS = Path("/dev/kfd"), Path("/dev/dri/renderD128")


@dataclass(frozen=True)
class Problem:
    """What is wrong and what mends it; `exit_code` is 0 where the model runs all the same."""

    what: str
    mend: str
    exit_code: ExitCode = ExitCode.SUCCESS


def gpu_problems(survey: Survey) -> list[Problem]:
    """Why no engine uses a GPU, as far as something can be done about it."""
    packages = [
        Problem(f"{name}: {state.missing}", f"pip install {state.package}")
        for name, state in survey.engines.items()
        if state.missing
    ]
    if survey.gpus:
        return packages
    return packages + (_with_driver(survey.driver) or _without_driver())


def _with_driver(driver: Driver) -> list[Problem]:
    if driver.problem:
        # A machine without NVIDIA's driver has nothing to mend: most have no such GPU.
        absent = "libcuda.so.1 not found" in driver.problem
        return [] if absent else [Problem(driver.problem, _for_driver(driver.problem))]
    names = ", ".join(gpu.name for gpu in driver.gpus)
    version = driver.cuda_version or (0, 0)
    if version < (12, 0):
        what = f"the NVIDIA driver supports CUDA {version[0]}.{version[1]}, and 12 is needed"
        return [Problem(what, "Install NVIDIA's driver 525 or newer.")]
    ways = " or ".join([*_llama_cpp_wheels(version), _CTRANSFORMERS_CUDA])
    return [Problem(f"no installed engine can use {names}", ways)]


def _llama_cpp_wheels(version: tuple[int, int]) -> Sequence[str]:
    """The newest CUDA build that a driver for CUDA `version` can run."""
    return [_XLLAMACPP.format(name) for least, name in _CUDA_WHEELS.items() if version >= least][:1]


def _for_driver(problem: str) -> str:
    if "CUDA_VISIBLE_DEVICES" in problem:
        return "unset CUDA_VISIBLE_DEVICES"
    if "MIG" in problem:
        return "nvidia-smi -L names the slices; CUDA_VISIBLE_DEVICES=MIG-… takes one"
    return f"{_NVIDIA_SMI} says more; after an update of the driver, restart the machine"


def _without_driver() -> list[Problem]:
    if _ROCM_DRIVER.exists():
        return [Problem("an AMD GPU is not used", _XLLAMACPP.format("rocm-7.2.4"))]
    if _GRAPHICS.exists():
        return [Problem("a graphics card is not used", _XLLAMACPP.format("vulkan"))]
    return []
