"""An engine's process that keeps growing: when to restart it, before the kernel kills it."""

from __future__ import annotations

import time

from mistral_cli.system.machine import anonymous_memory, available_memory

_CHECK_SECONDS = 1.0
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
