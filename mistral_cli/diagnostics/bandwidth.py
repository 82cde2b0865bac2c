"""How fast this machine reads its memory: what bounds the speed of generation on a CPU."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from mistral_cli.system.machine import available_memory

_BYTES, _SHARE = 2**30, 4
_PASSES = 8


def memory_bandwidth(threads: int) -> float:
    """Bytes a second that `threads` threads read together, one after the other in memory.

    Each takes the maximum of its part of an array much larger than any cache: NumPy does that
    with wide loads and without the GIL. The best of several passes counts, as in STREAM.
    """
    import numpy as np

    available = available_memory()
    size = _BYTES if available is None else min(_BYTES, available // _SHARE)
    numbers = np.ones(size // 4, np.float32)
    parts = np.array_split(numbers, threads)
    with ThreadPoolExecutor(threads) as pool:
        return max(numbers.nbytes / _seconds(pool, parts) for _ in range(_PASSES))


def _seconds(pool: ThreadPoolExecutor, parts: list) -> float:  # type: ignore[type-arg]
    started = time.perf_counter()
    for part in pool.map(lambda part: part.max(), parts):
        assert part == 1
    return time.perf_counter() - started
