"""The cores and the memory that this process may use, with the limits of its container."""

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
    """Return the CPU cores this process may run on: its affinity, within a cgroup v2 quota.

    The engines' threads spin: one thread more than there are free cores makes them many times
    slower. The hyper-threads of a core count once, as in llama.cpp's own default, since they
    share its execution units.
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
    """Return the hyper-threads of the core of `cpu` as the kernel lists them, or just `cpu`."""
    try:
        topology = _CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        return topology.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def available_memory() -> int | None:
    """Return the bytes that can still be allocated, or None if unknown (no /proc)."""
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
    """Return the peak resident bytes of a process and its descendants, with mapped files.

    This is the sum of their peaks, or None if unknown (no /proc).
    """
    return _sum_of("VmHWM:", pid)


def anonymous_memory(pid: int) -> int | None:
    """Return the resident bytes of a process and its descendants that no file backs.

    None if unknown (no /proc).
    """
    return _sum_of("RssAnon:", pid)


def _sum_of(name: str, pid: int) -> int | None:
    try:
        return sum(_status_bytes(name, each) for each in (pid, *_descendants(pid)))
    except (OSError, ValueError):
        return None


def _status_bytes(name: str, pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    # Not `next`: a process that has ended has no such line, and a StopIteration within a generator
    # is a RuntimeError.
    [line] = (line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text("ascii").split()):
            yield from (child, *_descendants(child))


def processor() -> str:
    """Return the CPU's name as the kernel reports it, or else its architecture."""
    with contextlib.suppress(OSError):
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _reclaimable() -> int:
    """Return the page cache that counts towards the cgroup but makes room for allocations."""
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


def memory_is_limited() -> bool:
    """Return whether this process may use only part of the address space (`ulimit -v`)."""
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
