"""Watch the free memory of the GPUs, fill it, and ask the planner what a model would take.

Each is a program of its own, because a driver can end the process that asks it, and a process that
allocates GPU memory has a CUDA context of some hundred MiB:
    python -m gpu.memory watch                               a JSON list of free bytes every 50 ms
    python -m gpu.memory fill LEAVE                          takes all but LEAVE bytes of each GPU
    python -m gpu.memory plan FILE ENGINE LAYERS CONTEXT     the planner's estimate as JSON
The first two end when stdin is closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

_PERIOD_SECONDS = 0.05


class FillFailed(Exception):
    """The GPU's memory could not be taken; the message is the driver's reason."""


class Watched:
    """What `watching` saw: the free bytes of each GPU before, and the fewest while it watched."""

    def __init__(self) -> None:
        self.before: list[int] = []
        self.fewest: list[int] = []

    def add(self, free: list[int]) -> None:
        """Add one reading."""
        self.before = self.before or free
        self.fewest = [min(pair) for pair in zip(self.fewest or free, free, strict=True)]

    @property
    def used(self) -> list[int]:
        """The most bytes that were taken of each GPU; empty without a reading."""
        return [was - now for was, now in zip(self.before, self.fewest, strict=True)]


@contextlib.contextmanager
def watching() -> Iterator[Watched]:
    """Watch the GPUs during the block; the first reading is taken before it begins."""
    watched = Watched()
    with _child("watch") as process:
        assert process.stdout
        first = process.stdout.readline()
        if first:
            watched.add(json.loads(first))
        reader = threading.Thread(target=_read, args=(process.stdout, watched))
        reader.start()
        try:
            yield watched
        finally:
            assert process.stdin
            process.stdin.close()
            reader.join()


@contextlib.contextmanager
def filled(leave: int) -> Iterator[None]:
    """Keep all but `leave` bytes of each GPU taken during the block. Raises FillFailed."""
    with _child("fill", str(leave)) as process:
        assert process.stdout
        answer = process.stdout.readline().strip()
        if answer != "filled":
            raise FillFailed(answer or "the process ended")
        yield


@contextlib.contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read(lines: Any, watched: Watched) -> None:
    for line in lines:
        with contextlib.suppress(ValueError):
            watched.add(json.loads(line))


# --- in the child processes --------------------------------------------------------------------


def _watch(answers: TextIO) -> None:
    from mistral_cli.engines.hardware.cuda import query_driver

    while True:
        query_driver.cache_clear()
        free = [gpu.memory_free or 0 for gpu in query_driver().gpus]
        print(json.dumps(free), file=answers, flush=True)
        if select.select([sys.stdin], [], [], _PERIOD_SECONDS)[0]:
            break


def _fill(leave: int) -> None:
    driver = ctypes.CDLL("libcuda.so.1")
    count = ctypes.c_int()
    _check("cuInit", driver.cuInit(0))
    _check("cuDeviceGetCount", driver.cuDeviceGetCount(ctypes.byref(count)))
    for ordinal in range(count.value):
        context, address = ctypes.c_void_p(), ctypes.c_uint64()
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        retain = driver.cuDevicePrimaryCtxRetain
        _check("cuDevicePrimaryCtxRetain", retain(ctypes.byref(context), ordinal))
        _check("cuCtxSetCurrent", driver.cuCtxSetCurrent(context))
        _check("cuMemGetInfo", driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
        # Plain memory: managed memory that the card does not have can hang it.
        size = ctypes.c_size_t(max(2**20, free.value - leave))
        _check("cuMemAlloc", driver.cuMemAlloc_v2(ctypes.byref(address), size))


def _check(call: str, status: int) -> None:
    if status:
        sys.exit(f"{call} failed with {status}")


def _plan(file: str, engine: str, layers: str, context: str) -> dict[str, Any]:
    from mistral_cli.engines.registry import backend
    from mistral_cli.models.gguf import read_gguf

    model = read_gguf(Path(file))
    memory = backend(engine).memory(model, int(context), int(layers))
    return {**asdict(memory), "ram": memory.ram, "gpu": memory.gpu}


def main(what: str, *arguments: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the driver prints must not get between our answers
    if what == "watch":
        _watch(answers)
    elif what == "plan":
        print(json.dumps(_plan(*arguments)), file=answers, flush=True)
    else:
        try:
            _fill(int(arguments[0]))
        except (OSError, AttributeError, SystemExit) as error:
            print(error, file=answers, flush=True)
        else:
            print("filled", file=answers, flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
