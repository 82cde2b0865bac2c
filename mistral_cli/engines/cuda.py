"""Ask the NVIDIA driver what it has, without loading any CUDA library that may end us."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral_cli.engines.gpu import Gpu
from mistral_cli.engines.nvml import Nvml

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_RUNTIME_LIBRARIES = {"cuda_runtime": "libcudart.so.12", "cublas": "libcublas.so.12"}
_OLDEST_CUDA, _OLDEST_CAPABILITY = (12, 0), (5, 2)


@dataclass(frozen=True)
class CudaGpu(Gpu):
    """A GPU as the CUDA driver numbers them; `mig` where it is a slice of one (MIG)."""

    compute_capability: tuple[int, int]
    mig: bool = False


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver's answers; `problem` is why no GPU can be used, or None."""

    problem: str | None = None
    cuda_version: tuple[int, int] | None = None
    gpus: tuple[CudaGpu, ...] = ()


def open_library(name: str) -> Any:
    """The native library `name`; the one place where tests put recorded answers."""
    return ctypes.CDLL(name)


def ask() -> Driver:
    """What the driver says now. It sees what CUDA_VISIBLE_DEVICES leaves visible."""
    try:
        driver = open_library("libcuda.so.1")
    except OSError:
        return Driver("there is no NVIDIA driver (libcuda.so.1 not found)")
    with Nvml.opened(open_library) as nvml:
        if status := driver.cuInit(0):
            return Driver(_invisible(nvml) or _init_failure(driver, status))
        major, minor = divmod(_number(driver.cuDriverGetVersion), 1000)
        version = (major, minor // 10)
        gpus = tuple(_gpus(driver, nvml))
        if not gpus:
            return Driver(_invisible(nvml) or "there is no CUDA device", version)
        return Driver(None, version, gpus)


def unusable_by_ctransformers(driver: Driver | None = None) -> str | None:
    """Why ctransformers' CUDA 12 library cannot run here, or None if it can.

    It must be known beforehand: where the driver is missing or too old, that library
    prints "CUDA error 35" and calls exit(1).
    """
    driver = driver or ask()
    if driver.problem:
        return driver.problem
    if driver.cuda_version and driver.cuda_version < _OLDEST_CUDA:
        return "the NVIDIA driver supports CUDA {}.{}, not 12".format(*driver.cuda_version)
    oldest = min(gpu.compute_capability for gpu in driver.gpus)
    if oldest < _OLDEST_CAPABILITY:
        return "compute capability {}.{} is below 5.2".format(*oldest)
    return _library_problem()


def _gpus(driver: Any, nvml: Nvml) -> Iterator[CudaGpu]:
    for ordinal in range(_number(driver.cuDeviceGetCount)):
        device = ctypes.c_int()
        name = ctypes.create_string_buffer(256)
        total = ctypes.c_size_t()
        identity = ctypes.create_string_buffer(16)
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        # The second version knows the slices of a MIG GPU; drivers before 11.4 lack it.
        get_uuid = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
        get_uuid(identity, device)
        free, mig = nvml.free_memory(str(uuid.UUID(bytes=identity.raw)))
        capability = (
            _number(driver.cuDeviceGetAttribute, _COMPUTE_CAPABILITY_MAJOR, device),
            _number(driver.cuDeviceGetAttribute, _COMPUTE_CAPABILITY_MINOR, device),
        )
        text = name.value.decode(errors="replace")
        yield CudaGpu(text, total.value, free, capability, mig)


def _invisible(nvml: Nvml) -> str | None:
    """Why CUDA shows no device although the machine has one."""
    if not nvml.gpu_count:
        return None
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return f"CUDA_VISIBLE_DEVICES={hidden} hides the {nvml.gpu_count} GPUs of this machine"
    if nvml.mig_enabled:
        return "the GPU is in MIG mode, and no slice of it is given to this process"
    return None


def _number(function: Any, *arguments: Any) -> int:
    value = ctypes.c_int()
    return value.value if function(ctypes.byref(value), *arguments) == 0 else 0


def _init_failure(driver: Any, status: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(status, ctypes.byref(name))
    error = name.value.decode() if name.value else status
    return f"the NVIDIA driver sees no usable device (cuInit: {error})"


def _library_problem() -> str | None:
    for package, library in _RUNTIME_LIBRARIES.items():
        try:
            open_library(library)
        except OSError:
            if not _from_pypi(package, library):
                return f"{library} is missing (pip install 'mistral-cli[cuda]')"
    return None


def _from_pypi(package: str, library: str) -> bool:
    """Whether NVIDIA's PyPI packages, which ctransformers looks into, carry the library."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    return any((Path(folder) / package / "lib" / library).exists() for folder in folders or ())
