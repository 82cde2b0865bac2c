"""What this process may use of the machine: cores and memory, container limits included."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO, _CPUINFO = Path("/proc/meminfo"), Path("/proc/cpuinfo")
_CPUS = Path("/sys/devices/system/cpu")


def usable_cores() -> int:
    """CPU cores this process may really run on: affinity, capped by a cgroup v2 quota.

    The engines' threads spin: one more than the free cores makes them many times slower. The
    hyper-threads of a core count once, as in llama.cpp's own default: they share what computes.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_value("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():  # the other form is "max 100000"
        cores = min(cores, int(quota[0]) // int(quota[1]))
    return max(1, cores)


def _siblings(cpu: int) -> str:
    """The hyper-threads of the core of `cpu`, in the kernel's words; else only itself."""
    try:
        topology = _CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        return topology.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def available_memory() -> int | None:
    """Bytes that can still be allocated, or None where that is not known (no /proc)."""
    try:
        fields = dict(line.split(":", 1) for line in _MEMINFO.read_text("ascii").splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    limit, used = _cgroup_value("memory.max"), _cgroup_value("memory.current")
    if limit.isdigit() and used.isdigit():
        available = min(available, int(limit) - int(used) + _reclaimable())
    return available


def resident_peak(pid: int) -> int | None:
    """The most bytes that a process and those it started had resident, mapped files included.

    The sum of each one's peak; None where it is not known (no /proc).
    """
    try:
        return sum(_peak(each) for each in (pid, *_descendants(pid)))
    except (OSError, ValueError, StopIteration):
        return None


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text("ascii").split()):
            yield from (child, *_descendants(child))


def processor() -> str:
    """The CPU's name as the kernel tells it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _reclaimable() -> int:
    """Page cache that counts against the cgroup but gives way to allocations."""
    for line in _cgroup_value("memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0


def _cgroup_value(name: str) -> str:
    try:
        return (_CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
