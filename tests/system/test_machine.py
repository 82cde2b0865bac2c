"""Cores and memory that a process may use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mistral_cli.system import machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace this container's limits by an empty folder, and the machine by one with 8 GiB."""
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8388608 kB\n")
    return tmp_path


@pytest.fixture
def cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six CPUs, and the folder where the kernel would describe them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(machine, "_CPUS", tmp_path / "cpus")
    return tmp_path / "cpus"


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


@pytest.mark.parametrize(
    ("siblings", "usable"),
    [(["0,3", "1,4", "2,5"] * 2, 3), (["0-1"] * 2 + ["2-3"] * 2 + ["4", "5"], 4), ([], 6)],
)
def test_hyper_threads_share_a_core(
    cgroup: Path, cores: Path, siblings: list[str], usable: int
) -> None:
    for number, shared in enumerate(siblings):
        folder = cores / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(shared + "\n")
    assert machine.usable_cores() == usable


def test_cores_without_affinity(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_the_affinity_limits_the_cores(cgroup: Path) -> None:
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
def test_memory_that_is_unknown(cgroup: Path, meminfo: str | None) -> None:
    (cgroup / "meminfo").unlink()
    if meminfo is not None:
        (cgroup / "meminfo").write_text(meminfo)
    assert machine.available_memory() is None


def test_a_process_that_has_ended_has_no_peak() -> None:
    """It is a zombie until its parent reads its status, and /proc still knows it."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert machine.resident_peak(process.pid) is None
