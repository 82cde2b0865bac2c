"""The machine build: llama.cpp compiled for this machine's own instructions, and what it is.

`scripts/build-native` makes it; an engine runs it. Needs nothing but the standard library,
so that the script can work before anything is installed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

SDIST = "llama-cpp-python==0.3.36"
"""The source distribution that carries llama.cpp's source."""
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
LLAMA_CPP = "0c1e57098"
"""The commit of llama.cpp in it, as its change log says."""

SCRIPT = "scripts/build-native"
SERVER = "llama-server"
FOLDER_VARIABLE = "MISTRAL_CLI_NATIVE"

_RECORD = "build.json"
_CPUINFO = Path("/proc/cpuinfo")
# What a compiler uses unasked; the kernel lists much more of an x86 CPU, which changes with it.
_X86 = re.compile(r"s?sse\w+|avx\w*|amx\w*|fma4?|f16c|bmi[12]|abm|popcnt|movbe|gfni")


@dataclass(frozen=True)
class Build:
    """What was built: from which source, for which instructions, with which options."""

    source: str
    llama_cpp: str
    instructions: tuple[str, ...]
    cuda: bool
    options: tuple[str, ...]

    def outdated(self) -> str | None:
        """Why it cannot be used here and now, or None if it can."""
        if lost := sorted({*self.instructions} - {*cpu_instructions()}):
            return f"built for a CPU with {', '.join(lost)}, which this one lacks"
        if self.source != SDIST:
            return f"built from {self.source}, and this version is for {SDIST}"
        return None


def native_folder() -> Path:
    """Where the build lives: a folder of the user's, unless MISTRAL_CLI_NATIVE names another."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    from mistral_cli.system.config import data_dir

    return data_dir() / "native"


def server(folder: Path) -> Path:
    """The program that the engine runs."""
    return folder / "bin" / SERVER


def find() -> tuple[Build | None, str | None]:
    """The build that is there, and why it cannot be used or that there is none."""
    folder = native_folder()
    if problem := supported():
        return None, problem
    if not installed(folder):
        return None, f"there is no machine build ({SCRIPT} of the source makes it)"
    build = read(folder)
    if problem := build.outdated() if build else "its record cannot be read":
        return build, f"the machine build is of no use: {problem} ({SCRIPT} makes it anew)"
    return build, None


def installed(folder: Path) -> bool:
    """Whether there is a build, usable or not."""
    return (folder / _RECORD).is_file()


def read(folder: Path) -> Build | None:
    """The build in `folder`; None where there is none, or its record cannot be read."""
    try:
        values = json.loads((folder / _RECORD).read_text("utf-8"))
        lists = {name: tuple(values[name]) for name in ("instructions", "options")}
        return Build(**{**values, **lists})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(build: Build, folder: Path) -> None:
    """Record `build` in `folder`."""
    text = json.dumps(asdict(build), indent=2) + "\n"
    (folder / _RECORD).write_text(text, "utf-8")


def supported() -> str | None:
    """Why a build is of no use on this system, or None where it is."""
    if sys.platform != "linux":  # the engine's process ends with ours by Linux's means
        return "the machine build is for Linux"
    return None


def gain() -> str:
    """What a build brings, as far as it was measured: with AVX-512, against the wheel's AVX2."""
    if any(name.startswith("avx512") for name in cpu_instructions()):
        return "with AVX-512, as here, one wrote 1.35 times as fast (SmolLM2, 2 cores)"
    return "what it brings was measured with AVX-512 alone, which this CPU lacks"


def cpu_instructions() -> tuple[str, ...]:
    """The instruction sets of this CPU, as the kernel names them; its name where it does not."""
    try:
        lines = _CPUINFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return tuple(sorted(filter(_X86.fullmatch, value.split())))
        if name.strip() == "Features":  # ARM
            return tuple(sorted(value.split()))
    return (platform.machine(),)
