"""Processes timed from their start, and ways to do the same thing taken in turns."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 180.0

Tell = Callable[[str], None]


class Unavailable(Exception):
    """A way that cannot be gone here; its text says why."""


@dataclass(frozen=True)
class Timed:
    """A process that ended well: seconds to its first byte on stdout, to its end, and stdout."""

    first_byte: float
    seconds: float
    stdout: str

    def __str__(self) -> str:
        return f"{self.first_byte:.2f} s to the first text, {self.seconds:.2f} s"


def timed(
    command: Sequence[str | Path], env: Mapping[str, str] | None = None, *, whole: bool = True
) -> Timed:
    """Run `command` to its end, or to its first text alone. Raises Unavailable where it fails."""
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
    """A process that ends with the block. Raises Unavailable where it cannot be started."""
    whole = {**os.environ, **(env or {})}
    # With it, what was not installed from a package would be compiled anew in each call.
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


Ways = Mapping[str, Callable[[], Any]]


def in_turns(ways: Ways, repeats: int, skipped: list[str], tell: Tell) -> dict[str, list[Any]]:
    """What each way gives: all are gone once, then again, so that other work hits all alike.

    What cannot be gone is named in `skipped`.
    """
    found: dict[str, list[Any]] = {way: [] for way in ways}
    for turn in range(repeats):
        for way, go in ways.items():
            if way not in found:
                continue
            try:
                found[way].append(go())
                tell(f"  {way}, {turn + 1} of {repeats}: {found[way][-1]}")
            except (Unavailable, subprocess.TimeoutExpired, OSError, ValueError) as error:
                skipped.append(f"{way}: {error}")
                tell(f"  {way} is skipped: {error}")
                del found[way]
    return found


def in_page_cache(path: Path) -> Path:
    """`path`, read once, so that no way is the one that waits for the disk.

    What was written lies there in single pages, which for 4 GB take 0.4 s longer to be mapped
    than the large ones that are read from the disk, as after a restart (Linux 6.18, ext4).
    """
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while file.read(2**24):
            pass
    return path


def median(values: Sequence[float] | None) -> float | None:
    """The median; None where there are no values."""
    return statistics.median(values) if values else None
