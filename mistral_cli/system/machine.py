"""The cores and the memory that this process may use, with the limits of its container."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO, _CPUINFO = Path("/proc/meminfo"), Path("/proc/cpuinfo")
_CPUS = Path("/sys/devices/system/cpu")
_STAT = Path("/proc/stat")

_TICK = 1 / os.sysconf("SC_CLK_TCK")  # of the kernel's counters, in seconds
_SHORTEST_LOOK = 0.05  # seconds, since the counters advance every hundredth
_ENOUGH = 0.65  # of a core that is free counts as one: other programs seldom run all the time


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


@dataclass(frozen=True)
class CpuTimes:
    """The CPU seconds that all programs, and this one, have used so far; `at` is the time of that.

    Programs of a lower priority do not count if this one has the normal one: they give way.
    """

    at: float
    everyone: float
    own: float

    @classmethod
    def now(cls) -> Self | None:
        """Return what the kernel's counters say now, or None where there is no /proc."""
        try:
            return cls(time.monotonic(), _everyone(), sum(map(_used, process_tree(os.getpid()))))
        except (OSError, ValueError, IndexError, AttributeError):  # AttributeError on macOS
            return None


def free_cores(since: CpuTimes | None) -> float:
    """Return the cores that no other program used since then, at most those that we may use.

    Waits until there is enough to look at.
    """
    cores = usable_cores()
    if since is None or cores == 1:
        return cores
    time.sleep(max(0.0, since.at + _SHORTEST_LOOK - time.monotonic()))
    now = CpuTimes.now()
    if now is None:
        return cores
    others = (now.everyone - since.everyone) - (now.own - since.own)
    # Where two hyper-threads share a core, each counts for half of one.
    share = cores / len(os.sched_getaffinity(0))
    return min(cores, max(0.0, cores - max(0.0, others) * share / (now.at - since.at)))


def threads_for(free: float) -> int:
    """Return how many threads an engine should start with for as many free cores.

    The engines' threads spin at each barrier, some ten thousand times a second. One whose core
    another program holds makes all others wait for it: on 2 cores with one busy program, SmolLM2
    135M wrote 26 to 38 tokens/s in two threads and 69 to 79 in one.
    """
    return max(1, int(free + 1 - _ENOUGH))


def _everyone() -> float:
    """Return the seconds that the CPUs this process may use were busy."""
    allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    counts_nice = os.nice(0) > 0
    busy = 0
    for line in _STAT.read_text("ascii").splitlines():
        name, *counters = line.split()
        if name in allowed:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, counters[:8])
            busy += user + system + irq + softirq + steal + (nice if counts_nice else 0)
    return busy * _TICK


def _used(pid: int) -> float:
    """Return the seconds that a process has used, with those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICK


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
        return sum(_status_bytes(name, each) for each in process_tree(pid))
    except (OSError, ValueError):
        return None


def _status_bytes(name: str, pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    # Not `next`: a process that has ended has no such line, and a StopIteration within a generator
    # is a RuntimeError.
    [line] = (line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def process_tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants. Raises OSError without /proc."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text("ascii").split()):
            yield from process_tree(child)


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
