"""Which of the libraries in the package ctransformers runs on this processor, if any."""

from __future__ import annotations

import platform
from pathlib import Path


def wrong_processor(package: Path) -> str | None:
    """Why the packaged library is for another processor: its wheel says "any", and is not."""
    processor = platform.machine()
    compiled_here = (package / "lib" / "local").is_dir()
    if platform.system() != "Linux" or processor == "x86_64" or compiled_here:
        return None
    return f"the library in the package ctransformers is for x86-64, and this is {processor}"


def variant(gpu_layers: int) -> str | None:
    """Which of the packaged libraries to load; None leaves it to the package.

    The package asks py-cpuinfo, which takes over a second.
    """
    if gpu_layers > 0:
        return "cuda" if platform.system() == "Linux" else None
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags = set(next((line for line in cpu.splitlines() if line.startswith("flags")), "").split())
    if {"avx2", "fma", "f16c"} <= flags:
        return "avx2"
    return "avx" if {"avx", "f16c"} <= flags else "basic"
