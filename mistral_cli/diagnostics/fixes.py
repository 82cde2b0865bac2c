"""What keeps a GPU from being used, and the command that mends it."""

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
        if state.missing and (mend := backend(name).install_hint(survey.driver))
    ]
    if any(survey.engines[name].gpus for name in readers):
        return packages
    driver = survey.driver
    if driver.obstacle and driver.obstacle in _MENDS:
        return [*packages, Problem(driver.problem or "", _MENDS[driver.obstacle])]
    if driver.obstacle:
        return packages + _without_driver(survey)
    ways = _gpu_fixes(driver, readers)
    names = ", ".join(gpu.name for gpu in driver.gpus)
    what = f"no engine that can run the model uses {names}"
    return [*packages, Problem(what, " or ".join(ways))] if ways else packages


def _gpu_fixes(driver: Driver, readers: Collection[str]) -> list[str]:
    """What lets one of the `readers` use the GPUs that the driver offers.

    A newer driver is suggested only where nothing else helps, and then the oldest that does.
    """
    found = [fix for name in readers if (fix := backend(name).gpu_fix(driver))]
    if commands := [fix.command for fix in found if fix.command]:
        return commands
    versions = [fix.driver_version for fix in found]
    return [f"Install NVIDIA's driver {min(versions)} or newer."] if versions else []


def _without_driver(survey: HardwareReport) -> list[Problem]:
    if _ROCM_DRIVER.exists():
        what, kind = "an AMD GPU is not used", "rocm"
    elif _GRAPHICS.exists():
        what, kind = "a graphics card is not used", "vulkan"
    else:
        return []
    fixes = (backend(name).other_gpu_fix(kind) for name in survey.engines)
    return [Problem(what, fix) for fix in fixes if fix][:1]
