"""Cores and memory that a process may use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mistral_cli.system import machine

Counters = Callable[..., None]


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


@pytest.fixture
def counters(cores: Path, cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> Counters:
    """Counters of six CPUs, which the test advances: `counters(user=…, nice=…, own=…)`."""
    now = {"user": 0.0, "nice": 0.0, "own": 0.0, "at": 100.0}
    stat = cgroup / "stat"
    monkeypatch.setattr(machine, "_STAT", stat)
    monkeypatch.setattr(machine, "_used", lambda pid: now["own"])
    monkeypatch.setattr(machine, "process_tree", lambda pid: [pid])
    monkeypatch.setattr(machine.time, "monotonic", lambda: now["at"])

    def counters(**seconds: float) -> None:
        for name, value in seconds.items():
            now[name] += value
        ticks = [round(now[name] / machine._TICK) for name in ("user", "nice")]
        lines = [f"cpu0 {ticks[0]} {ticks[1]} 0 999 5 0 0 0 0 0"]
        lines += [f"cpu{number} 0 0 0 999 5 0 0 0 0 0" for number in range(1, 6)]
        lines += ["cpu9 99999 0 0 0 0 0 0 0 0 0", "intr 1 2 3"]
        stat.write_text("\n".join(lines) + "\n")

    counters()
    return counters


@pytest.mark.parametrize(
    ("used", "free"),
    [
        ({}, 6.0),
        ({"user": 3.0}, 3.0),  # in one second
        ({"user": 3.0, "own": 2.0}, 5.0),
        ({"user": 1.0, "own": 2.0}, 6.0),  # the counters of processes and CPUs differ by ticks
        ({"user": 9.0}, 0.0),
        ({"nice": 4.0}, 6.0),  # they give way
    ],
)
def test_free_cores(counters: Counters, used: dict[str, float], free: float) -> None:
    began = machine.CpuTimes.now()
    counters(at=1.0, **used)
    assert machine.free_cores(began) == pytest.approx(free)


def test_a_program_of_low_priority_counts_others_of_its_kind(
    counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda change: 10)
    began = machine.CpuTimes.now()
    counters(at=1.0, nice=4.0)
    assert machine.free_cores(began) == pytest.approx(2.0)


def test_a_short_look_is_prolonged(counters: Counters, monkeypatch: pytest.MonkeyPatch) -> None:
    began, waits = machine.CpuTimes.now(), []
    monkeypatch.setattr(machine.time, "sleep", waits.append)
    counters(at=0.02)
    machine.free_cores(began)
    assert waits == [pytest.approx(0.03)]


def test_nothing_is_known_without_proc(
    counters: Counters, cgroup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cgroup / "stat").unlink()
    assert machine.CpuTimes.now() is None
    assert machine.free_cores(None) == 6


def test_the_real_counters_advance_with_our_own_work() -> None:
    began = machine.CpuTimes.now()
    assert began is not None
    sum(range(10**7))
    now = machine.CpuTimes.now()
    assert now is not None
    assert now.own > began.own
    assert now.everyone > began.everyone


@pytest.mark.parametrize(
    ("free", "threads"), [(0.0, 1), (0.6, 1), (1.6, 1), (1.7, 2), (2.0, 2), (12.9, 13)]
)
def test_threads_for_free_cores(free: float, threads: int) -> None:
    assert machine.threads_for(free) == threads


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
