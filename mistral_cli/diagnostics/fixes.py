"""Why no engine uses a GPU, and the command or step that fixes it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.hardware.cuda import Driver, Obstacle
from mistral_cli.engines.registry import backend
from mistral_cli.errors import ExitCode

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.probe import HardwareReport

_DRIVER_FIXES = {
    Obstacle.NO_DEVICE: "Run nvidia-smi for details; start a container with --gpus all.",
    Obstacle.HIDDEN: "unset CUDA_VISIBLE_DEVICES",
    Obstacle.MIG: "Set CUDA_VISIBLE_DEVICES=MIG-… to a slice that nvidia-smi -L lists.",
    Obstacle.FAILED: "Run nvidia-smi for details; restart the machine after a driver update.",
}
"""For a driver without a GPU. A missing driver needs no fix: most machines have no such GPU."""

_ROCM_DRIVER, _GRAPHICS = Path("/dev/kfd"), Path("/dev/dri/renderD128")


@dataclass(frozen=True)
class Problem:
    """A problem and its fix; `exit_code` is 0 if the model can run in spite of it."""

    message: str
    fix: str
    exit_code: ExitCode = ExitCode.SUCCESS


def gpu_problems(hardware: HardwareReport, capable_engines: Collection[str]) -> list[Problem]:
    """Why none of `capable_engines`, which can run the model, uses a GPU, if a fix is known."""
    packages = [
        Problem(f"{name}: {state.missing}", fix)
        for name, state in hardware.engines.items()
        if state.missing and (fix := backend(name).install_hint(hardware.driver))
    ]
    if any(hardware.engines[name].gpus for name in capable_engines):
        return packages
    driver = hardware.driver
    if driver.obstacle and driver.obstacle in _DRIVER_FIXES:
        return [*packages, Problem(driver.problem or "", _DRIVER_FIXES[driver.obstacle])]
    if driver.obstacle:
        return packages + _other_gpu_problems(hardware)
    fixes = _gpu_fixes(driver, capable_engines)
    names = ", ".join(gpu.name for gpu in driver.gpus)
    message = f"no engine that can run the model uses {names}"
    return [*packages, Problem(message, " or ".join(fixes))] if fixes else packages


def _gpu_fixes(driver: Driver, capable_engines: Collection[str]) -> list[str]:
    """The steps that let one of `capable_engines` use the GPUs that the driver offers.

    A newer driver is suggested only if nothing else helps, and then the oldest that does.
    """
    fixes = [fix for name in capable_engines if (fix := backend(name).gpu_fix(driver))]
    if commands := [fix.command for fix in fixes if fix.command]:
        return commands
    versions = [fix.driver_version for fix in fixes]
    return [f"Install NVIDIA driver {min(versions)} or newer."] if versions else []


def _other_gpu_problems(hardware: HardwareReport) -> list[Problem]:
    """GPUs that are not NVIDIA's and that an engine could use."""
    if _ROCM_DRIVER.exists():
        message, kind = "an AMD GPU is not used", "rocm"
    elif _GRAPHICS.exists():
        message, kind = "a graphics card is not used", "vulkan"
    else:
        return []
    fixes = (backend(name).other_gpu_fix(kind) for name in hardware.engines)
    return [Problem(message, fix) for fix in fixes if fix][:1]
