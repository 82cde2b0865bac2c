"""What this process may use of the machine: cores and memory, container limits included."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def usable_cores() -> int:
    """CPU cores this process may really run on: affinity, capped by a cgroup v2 quota.

    The engines' threads spin: one more than the free cores makes them many times slower.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_value("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():  # the other form is "max 100000"
        cores = min(cores, int(quota[0]) // int(quota[1]))
    return max(1, cores)


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
