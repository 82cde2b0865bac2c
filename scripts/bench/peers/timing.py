"""Times processes from their start, and measures variants in alternating turns."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 180.0

Log = Callable[[str], None]


class Unavailable(Exception):
    """A variant that cannot be measured here; the message gives the reason."""


@dataclass(frozen=True)
class Timed:
    """A process that succeeded: seconds to its first byte on stdout and to its end, and stdout."""

    first_byte: float
    seconds: float
    stdout: str

    def __str__(self) -> str:
        return f"{self.first_byte:.2f} s to the first text, {self.seconds:.2f} s"


def timed(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None, *, whole: bool = True
) -> Timed:
    """Run `command` to its end, or only to its first text. Raises Unavailable if it fails."""
    chunks: list[bytes] = []
    first = 0.0
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        with running(command, env, stdout=subprocess.PIPE, stderr=log) as process:
            assert process.stdout
            while chunk := os.read(process.stdout.fileno(), 65536):
                first = first or time.perf_counter() - started
                chunks.append(chunk)
                if not whole:
                    return Timed(first, first, chunk.decode(errors="replace"))
            status = process.wait(LIMIT_SECONDS)
        seconds = time.perf_counter() - started
        if status:
            log.seek(0)
            words = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise Unavailable(f"exit code {status}: {words[-1][:200]}")
    return Timed(first, seconds, b"".join(chunks).decode(errors="replace"))


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None, **streams: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that ends with the block. Raises Unavailable if it cannot start."""
    whole = {**os.environ, **(env or {})}
    # This would make every call compile the modules that were not installed from a package.
    whole.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=whole, **streams)  # type: ignore[call-overload]
    except OSError as error:
        raise Unavailable(f"cannot be started: {error}") from error
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


Variants = Mapping[str, Callable[[], Any]]


class Measurements(dict[str, list[Any]]):
    """The values of each variant that could be measured; `failed` has the reasons of the others."""

    def __init__(self, values: Iterable[tuple[str, list[Any]]] = ()) -> None:
        super().__init__(values)
        self.failed: dict[str, str] = {}


def alternate(variants: Variants, repeats: int, skipped: list[str], log: Log) -> Measurements:
    """Measure all variants once, then again, so that other load affects all of them alike.

    A variant that fails, in whichever turn and for whatever reason, is added to `skipped` and to
    `failed`; the others go on.
    """
    measured = Measurements((variant, []) for variant in variants)
    for turn in range(repeats):
        for variant, go in variants.items():
            if variant not in measured:
                continue
            try:
                measured[variant].append(go())
                log(f"  {variant}, {turn + 1} of {repeats}: {measured[variant][-1]}")
            except Exception as error:
                reason = _reason(error)
                if turn:
                    reason += f" (in turn {turn + 1} of {repeats})"
                measured.failed[variant] = reason
                skipped.append(f"{variant}: {reason}")
                log(f"  {variant} failed: {reason}")
                del measured[variant]
    return measured


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"took more than {error.timeout:.0f} s"
    text = str(error) if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def in_page_cache(path: Path) -> Path:
    """Read `path` once, so that no variant has to wait for the disk, and return it.

    A file that was just written is cached in single pages: mapping 4 GB of them takes 0.4 s longer
    than the large pages that are read from the disk, as after a restart (Linux 6.18, ext4).
    """
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while file.read(2**24):
            pass
    return path


def median(values: Sequence[float] | None) -> float | None:
    """Return the median; None if there are no values."""
    return statistics.median(values) if values else None
