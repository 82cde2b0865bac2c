"""Cores and memory that a process may use, and the NVIDIA driver's word."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from mistral_cli import machine
from mistral_cli.engines import cuda


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of this container's limits, and a machine of 8 GiB."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8388608 kB\n")
    return tmp_path


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)


@pytest.mark.parametrize(
    ("quota", "usable"),
    [
        (None, 6),
        ("max 100000", 6),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("900000 100000", 6),
        ("", 6),
    ],
)
@pytest.mark.usefixtures("cores")
def test_cores(cgroup: Path, quota: str | None, usable: int) -> None:
    if quota is not None:
        (cgroup / "cpu.max").write_text(quota + "\n")
    assert machine.usable_cores() == usable


def test_cores_without_affinity(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_the_affinity_counts(cgroup: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert machine.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


GIB = 2**30


@pytest.mark.parametrize(
    ("limit", "used", "cache", "available"),
    [
        ("max", 1 * GIB, 0, 8 * GIB),
        (4 * GIB, 1 * GIB, 0, 3 * GIB),
        (4 * GIB, 3 * GIB, 2 * GIB, 3 * GIB),
        (64 * GIB, 1 * GIB, 0, 8 * GIB),
    ],
)
def test_memory(cgroup: Path, limit: str | int, used: int, cache: int, available: int) -> None:
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")
    (cgroup / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\nactive_file 7\n")
    assert machine.available_memory() == available


def test_memory_without_limits(cgroup: Path) -> None:
    assert machine.available_memory() == 8 * GIB


@pytest.mark.parametrize("meminfo", [None, "", "MemTotal: 9 kB\n", "nonsense\n"])
def test_memory_that_is_not_known(cgroup: Path, meminfo: str | None) -> None:
    (cgroup / "meminfo").unlink()
    if meminfo is not None:
        (cgroup / "meminfo").write_text(meminfo)
    assert machine.available_memory() is None


class Driver:
    """libcuda.so.1 of a machine with `devices`, as ctypes shows it."""

    def __init__(self, devices: int = 1, version: int = 12040, capability: int = 75) -> None:
        self._devices, self._version = devices, version
        self._capability = dict(zip((75, 76), divmod(capability, 10), strict=True))

    def cuInit(self, flags: int) -> int:
        return 0 if self._devices else 100

    def cuDeviceGetCount(self, count: object) -> int:
        count._obj.value = self._devices  # type: ignore[attr-defined]
        return 0

    def cuDriverGetVersion(self, version: object) -> int:
        version._obj.value = self._version  # type: ignore[attr-defined]
        return 0

    def cuDeviceGet(self, device: object, ordinal: int) -> int:
        return 0

    def cuDeviceGetAttribute(self, value: object, attribute: int, device: object) -> int:
        value._obj.value = self._capability[attribute]  # type: ignore[attr-defined]
        return 0


@pytest.mark.parametrize(
    ("driver", "libraries", "problem"),
    [
        (None, True, "no NVIDIA driver"),
        (Driver(devices=0), True, "no usable device"),
        (Driver(version=11080), True, "supports CUDA 11.8, not 12"),
        (Driver(capability=50), True, "5.0 is below 5.2"),
        (Driver(), False, "libcudart.so.12 is missing"),
        (Driver(), True, None),
    ],
)
def test_whether_cuda_can_be_used(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, libraries: bool, problem: str | None
) -> None:
    def load(name: str) -> object:
        if name == "libcuda.so.1" and driver is not None:
            return driver
        if name != "libcuda.so.1" and libraries:
            return object()
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(cuda, "_from_pypi", lambda package, library: False)
    found = cuda.unusable_by_ctransformers()
    assert (found is None) == (problem is None)
    assert problem is None or problem in (found or "")


def test_cuda_libraries_from_pypi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.12"
    library.parent.mkdir(parents=True)
    library.touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cuda._from_pypi("cuda_runtime", "libcudart.so.12")
    assert not cuda._from_pypi("cublas", "libcublas.so.12")
