"""Ask the NVIDIA driver what it has, without loading any CUDA library that may end us."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_RUNTIME_LIBRARIES = {"cuda_runtime": "libcudart.so.12", "cublas": "libcublas.so.12"}


def unusable_by_ctransformers() -> str | None:
    """Why ctransformers' CUDA 12 library cannot run here, or None if it can.

    It must be known beforehand: where the driver is missing or too old, that library
    prints "CUDA error 35" and calls exit(1).
    """
    return _driver_problem() or _library_problem()


def _driver_problem() -> str | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1 not found)"
    if driver.cuInit(0) != 0:
        return "the NVIDIA driver sees no usable device (cuInit failed)"
    count, version = ctypes.c_int(), ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return "there is no CUDA device"
    driver.cuDriverGetVersion(ctypes.byref(version))
    if version.value < 12000:
        major, minor = divmod(version.value, 1000)
        return f"the NVIDIA driver supports CUDA {major}.{minor // 10}, not 12"
    device, major_, minor_ = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetAttribute(ctypes.byref(major_), _COMPUTE_CAPABILITY_MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor_), _COMPUTE_CAPABILITY_MINOR, device)
    if (major_.value, minor_.value) < (5, 2):
        return f"compute capability {major_.value}.{minor_.value} is below 5.2"
    return None


def _library_problem() -> str | None:
    for package, library in _RUNTIME_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            if not _from_pypi(package, library):
                return f"{library} is missing (pip install 'mistral-cli[cuda]')"
    return None


def _from_pypi(package: str, library: str) -> bool:
    """Whether NVIDIA's PyPI packages, which ctransformers looks into, carry the library."""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else None
    return any((Path(folder) / package / "lib" / library).exists() for folder in folders or ())
