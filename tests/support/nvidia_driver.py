"""NVIDIA's driver libraries, as ctypes presents them, with the answers of a given machine."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

from mistral_cli.engines.ctransformers import limits
from mistral_cli.engines.hardware import cuda

GIB = 2**30
SUCCESS, STUB, NO_DEVICE, NOT_READY, NOT_FOUND = 0, 34, 100, 802, 6


@dataclass(frozen=True)
class Card:
    """A device in CUDA's list; a `slice` is a part of a GPU in MIG mode."""

    name: str = "Tesla T4"
    capability: tuple[int, int] = (7, 5)
    total: int = 15_835_660_288
    free: int = 15_720_000_000
    slice: bool = False


T4 = Card()


@dataclass
class Machine:
    """The machine that the libraries describe; without `nvml`, one library is missing."""

    cards: tuple[Card, ...] = (T4,)
    version: int = 12040
    status: int = SUCCESS
    nvml: bool = True
    physical: int = 1
    mig: bool = False
    runtime: bool | str = True
    """Whether the CUDA libraries exist, or the prefix of the name of the only one."""
    opened: list[str] = field(default_factory=list)

    def open_library(self, name: str) -> Any:
        self.opened.append(name)
        if name == "libcuda.so.1":
            return Cuda(self)
        if name == "libnvidia-ml.so.1" and self.nvml:
            return Management(self)
        only = self.runtime if isinstance(self.runtime, str) else ("libcudart", "libcublas")
        if self.runtime and name.startswith(only):
            return object()
        raise OSError(name)

    def identity(self, ordinal: int) -> uuid.UUID:
        return uuid.UUID(int=ordinal + 1)


def put(monkeypatch: pytest.MonkeyPatch, machine: Machine | None) -> None:
    """Make the program find the driver of `machine`, or none."""

    def nothing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(cuda, "open_library", machine.open_library if machine else nothing)
    monkeypatch.setattr(limits, "_all_from_pypi", lambda: False)
    cuda.query_driver.cache_clear()


class Cuda:
    """libcuda.so.1."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def cuInit(self, flags: int) -> int:
        return self._machine.status

    def cuGetErrorName(self, status: int, name: Any) -> int:
        names = {
            NO_DEVICE: b"CUDA_ERROR_NO_DEVICE",
            STUB: b"CUDA_ERROR_STUB_LIBRARY",
            NOT_READY: b"CUDA_ERROR_SYSTEM_NOT_READY",
        }
        name._obj.value = names.get(status)
        return SUCCESS

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = self._machine.version
        return SUCCESS

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self._machine.cards)
        return SUCCESS

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = ordinal
        return SUCCESS

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:
        name.value = self._card(device).name.encode()
        return SUCCESS

    def cuDeviceTotalMem_v2(self, total: Any, device: Any) -> int:
        total._obj.value = self._card(device).total
        return SUCCESS

    def cuDeviceGetUuid_v2(self, identity: Any, device: Any) -> int:
        identity.raw = self._machine.identity(device.value).bytes
        return SUCCESS

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = self._card(device).capability[attribute - 75]
        return SUCCESS

    def _card(self, device: Any) -> Card:
        return self._machine.cards[device.value]


class Management:
    """libnvidia-ml.so.1, which may number devices differently from CUDA: only UUIDs are safe."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def nvmlInit_v2(self) -> int:
        return SUCCESS

    def nvmlShutdown(self) -> int:
        return SUCCESS

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = self._machine.physical
        return SUCCESS

    def nvmlDeviceGetHandleByUUID(self, identity: bytes, handle: Any) -> int:
        for ordinal, card in enumerate(self._machine.cards):
            prefix = "MIG-" if card.slice else "GPU-"
            if identity.decode() == f"{prefix}{self._machine.identity(ordinal)}":
                handle._obj.value = ordinal + 1
                return SUCCESS
        return NOT_FOUND

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle._obj.value = index + 1
        return SUCCESS

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        card = self._machine.cards[handle.value - 1]
        memory._obj.total, memory._obj.free = card.total, card.free
        return SUCCESS

    def nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:
        current._obj.value = int(self._machine.mig)
        return SUCCESS
