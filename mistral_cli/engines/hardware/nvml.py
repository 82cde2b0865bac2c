"""Free GPU memory from NVIDIA's management library: CUDA itself tells it only to a context,
which takes hundreds of megabytes of what it would count."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any


class _Memory(ctypes.Structure):
    """nvml.h's `nvmlMemory_t`."""

    _fields_ = tuple((name, ctypes.c_ulonglong) for name in ("total", "free", "used"))


class Nvml:
    """The management library, or nothing where it cannot be had."""

    def __init__(self, library: Any | None) -> None:
        self._library = library

    @classmethod
    @contextlib.contextmanager
    def opened(cls, open_library: Callable[[str], Any]) -> Iterator[Nvml]:
        """The library, between its start and its end."""
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
        """Bytes free on the device with this UUID, or None; and whether it is a MIG slice."""
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
        """All GPUs of the machine, whatever CUDA_VISIBLE_DEVICES says."""
        count = ctypes.c_uint()
        if self._library and not self._library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return count.value
        return 0

    @property
    def mig_enabled(self) -> bool:
        """Whether any GPU is in MIG mode: CUDA sees its slices only."""
        return any(self._in_mig_mode(index) for index in range(self.gpu_count))

    def _in_mig_mode(self, index: int) -> bool:
        handle, current, pending = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
        assert self._library
        ask = getattr(self._library, "nvmlDeviceGetMigMode", None)  # drivers before 450 lack it
        if not ask or self._library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
            return False
        status = ask(handle, ctypes.byref(current), ctypes.byref(pending))
        return bool(status == 0 and current.value == 1)
