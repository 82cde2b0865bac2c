"""Ask NVIDIA's driver for its GPUs, without loading a CUDA library that may end our process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from mistral_cli.engines.hardware.gpu import Gpu

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_DRIVER = "libcuda.so.1"
_NO_DEVICE, _STUB_LIBRARY = 100, 34  # CUresult
_OLDEST_CUDA = (12, 0)


@dataclass(frozen=True)
class CudaGpu(Gpu):
    """A GPU that the CUDA driver shows; `mig` if it is a slice of one (MIG)."""

    compute_capability: tuple[int, int]
    mig: bool = False


class Obstacle(StrEnum):
    """The kind of problem that keeps the driver from offering a GPU."""

    NO_DRIVER = "no driver"
    NO_DEVICE = "no device"
    HIDDEN = "hidden"
    MIG = "mig"
    FAILED = "failed"


@dataclass(frozen=True)
class Driver:
    """What NVIDIA's driver reports. `problem` is why no GPU can be used, or None.

    `obstacle` is the kind of that problem.
    """

    problem: str | None = None
    obstacle: Obstacle | None = None
    cuda_version: tuple[int, int] | None = None
    gpus: tuple[CudaGpu, ...] = ()

    @property
    def too_old(self) -> bool:
        """Whether it is too old for libraries that need CUDA 12."""
        return self.cuda_version is not None and self.cuda_version < _OLDEST_CUDA

    @property
    def weakest(self) -> tuple[int, int]:
        """The lowest compute capability among the GPUs."""
        return min(gpu.compute_capability for gpu in self.gpus)


def open_library(name: str) -> Any:
    """Open the native library `name`. Tests replace this function by recorded answers."""
    return ctypes.CDLL(name)


def no_driver() -> Driver:
    """The report where there is no driver."""
    return Driver(f"there is no NVIDIA driver ({_DRIVER} not found)", Obstacle.NO_DRIVER)


def driver_is_there() -> bool:
    """Whether NVIDIA's driver is installed; this calls nothing in it."""
    try:
        open_library(_DRIVER)
    except OSError:
        return False
    return True


@cache
def query_driver() -> Driver:
    """Ask the driver, once per process. It shows what CUDA_VISIBLE_DEVICES leaves visible.

    The call can hang forever or end the process: call it in a child process.
    """
    try:
        driver = open_library(_DRIVER)
    except OSError:
        return no_driver()
    with _Nvml.opened(open_library) as nvml:
        status = driver.cuInit(0)
        if status == _NO_DEVICE:
            return _invisible(nvml)
        if status:
            # The CUDA toolkit has a stub library for machines without the driver.
            kind = Obstacle.NO_DRIVER if status == _STUB_LIBRARY else Obstacle.FAILED
            return Driver(_init_failure(driver, status), kind)
        major, minor = divmod(_number(driver.cuDriverGetVersion), 1000)
        version = (major, minor // 10)
        gpus = tuple(_gpus(driver, nvml))
        if not gpus:
            return replace(_invisible(nvml), cuda_version=version)
        return Driver(cuda_version=version, gpus=gpus)


def _gpus(driver: Any, nvml: _Nvml) -> Iterator[CudaGpu]:
    for ordinal in range(_number(driver.cuDeviceGetCount)):
        device = ctypes.c_int()
        name = ctypes.create_string_buffer(256)
        total = ctypes.c_size_t()
        identity = ctypes.create_string_buffer(16)
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        # The second version returns the slices of a MIG GPU; drivers before 11.4 do not have it.
        get_uuid = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
        get_uuid(identity, device)
        free, mig = nvml.free_memory(str(uuid.UUID(bytes=identity.raw)))
        capability = (
            _number(driver.cuDeviceGetAttribute, _COMPUTE_CAPABILITY_MAJOR, device),
            _number(driver.cuDeviceGetAttribute, _COMPUTE_CAPABILITY_MINOR, device),
        )
        text = name.value.decode(errors="replace")
        yield CudaGpu(text, total.value, free, capability, mig)


def _invisible(nvml: _Nvml) -> Driver:
    """Why CUDA shows no device, although the machine may have one."""
    count, hidden = nvml.gpu_count, os.environ.get("CUDA_VISIBLE_DEVICES")
    if count and nvml.mig_enabled:
        problem = "the GPU is in MIG mode, and this process has no slice of it"
        return Driver(problem, Obstacle.MIG)
    if count and hidden is not None:
        gpus = "GPU" if count == 1 else f"{count} GPUs"
        problem = f"CUDA_VISIBLE_DEVICES={hidden} hides the {gpus} of this machine"
        return Driver(problem, Obstacle.HIDDEN)
    return Driver("there is no CUDA device", Obstacle.NO_DEVICE)


def _number(function: Any, *arguments: Any) -> int:
    value = ctypes.c_int()
    return value.value if function(ctypes.byref(value), *arguments) == 0 else 0


def _init_failure(driver: Any, status: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(status, ctypes.byref(name))
    error = name.value.decode() if name.value else status
    return f"the NVIDIA driver sees no usable device (cuInit: {error})"


class _Memory(ctypes.Structure):
    """nvml.h's `nvmlMemory_t`."""

    _fields_ = tuple((name, ctypes.c_ulonglong) for name in ("total", "free", "used"))


class _Nvml:
    """NVIDIA's management library, or nothing where there is none.

    It knows the free memory. CUDA tells that only to a context, which takes hundreds of megabytes
    of what it would count.
    """

    def __init__(self, library: Any | None) -> None:
        self._library = library

    @classmethod
    @contextlib.contextmanager
    def opened(cls, open_library: Callable[[str], Any]) -> Iterator[_Nvml]:
        """The library, initialized, and shut down afterwards."""
        try:
            library = open_library("libnvidia-ml.so.1")
        except OSError:
            library = None
        if library is None or library.nvmlInit_v2() != 0:
            yield cls(None)
            return
        try:
            yield cls(library)
        finally:
            library.nvmlShutdown()

    def free_memory(self, identity: str) -> tuple[int | None, bool]:
        """Free bytes of the device with this UUID, or None; and whether it is a MIG slice."""
        for prefix in ("GPU-", "MIG-"):
            handle, memory = ctypes.c_void_p(), _Memory()
            if (
                self._library
                and not self._library.nvmlDeviceGetHandleByUUID(
                    f"{prefix}{identity}".encode(), ctypes.byref(handle)
                )
                and not self._library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
            ):
                return memory.free, prefix == "MIG-"
        return None, False

    @property
    def gpu_count(self) -> int:
        """The number of all GPUs of the machine, whatever CUDA_VISIBLE_DEVICES says."""
        count = ctypes.c_uint()
        if self._library and not self._library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return count.value
        return 0

    @property
    def mig_enabled(self) -> bool:
        """Whether any GPU is in MIG mode: CUDA sees only its slices."""
        return any(self._in_mig_mode(index) for index in range(self.gpu_count))

    def _in_mig_mode(self, index: int) -> bool:
        handle, current, pending = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
        assert self._library
        ask = getattr(self._library, "nvmlDeviceGetMigMode", None)  # drivers before 450 lack it
        if not ask or self._library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
            return False
        status = ask(handle, ctypes.byref(current), ctypes.byref(pending))
        return bool(status == 0 and current.value == 1)
