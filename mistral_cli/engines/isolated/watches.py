"""When to restart an engine's process: it keeps growing, or its threads do not fit the cores."""

from __future__ import annotations

import time

from mistral_cli.system.machine import (
    CpuTimes,
    anonymous_memory,
    available_memory,
    free_cores,
    threads_for,
)

_CHECK_SECONDS = 1.0
_CORES_SECONDS = 5.0
_PERIODS = 2
"""So often in a row the cores must be free, or not, before a restart: it costs a load."""
_LOADS = 10
"""A process works at least so many times as long as its load took, whatever the cores do."""
_LEAST_BYTES = 2**28
"""Growth that is never a leak: buffers, and caches of the library that fill up."""


class GrowthWatch:
    """Compares the memory of a process with what it had when its model was loaded.

    Anonymous memory only: the kernel can drop the pages of the model's file at any time.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = anonymous_memory(pid)
        self._checked_at = time.monotonic()

    def warning(self) -> str | None:
        """Why the process should be restarted now, or None; looks at most once a second.

        It should if it has grown by more than is left, so that a restart frees most of what the
        machine, or the container, has.
        """
        now = time.monotonic()
        if self._before is None or now - self._checked_at < _CHECK_SECONDS:
            return None
        self._checked_at = now
        memory, left = anonymous_memory(self._pid), available_memory()
        if memory is None or left is None:
            return None
        growth = memory - self._before
        if growth < max(_LEAST_BYTES, left):
            return None
        return (
            f"the engine's process has grown by {growth / 2**30:.1f} GiB since it loaded the "
            f"model, and {left / 2**30:.1f} GiB of memory is left"
        )


class ThreadsWatch:
    """Compares the threads of an engine with the cores that nothing else uses."""

    def __init__(self, threads: int, load_seconds: float) -> None:
        self._threads = threads
        self._earliest = time.monotonic() + _LOADS * load_seconds
        self._since = CpuTimes.now()
        self._periods = 0

    def better(self) -> int | None:
        """The number of threads that the engine should have now, or None if it has that."""
        if self._since is None or time.monotonic() - self._since.at < _CORES_SECONDS:
            return None
        free = free_cores(self._since)
        self._since = CpuTimes.now()
        fits = threads_for(free)
        if fits > self._threads:
            fits = max(self._threads, int(free + 0.2))  # more threads need cores that are idle
        self._periods = self._periods + 1 if fits != self._threads else 0
        is_due = self._periods >= _PERIODS and time.monotonic() >= self._earliest
        return fits if is_due else None
