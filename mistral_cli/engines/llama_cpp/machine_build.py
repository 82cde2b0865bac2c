"""The machine build: llama.cpp compiled on this machine, and the record of how it was built.

`mistral-cli engines build` makes it (`build.py`); the engine `native` runs it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from mistral_cli.system.strict_json import read_object, to_dataclass

SDIST = "llama-cpp-python==0.3.36"
"""The source distribution that carries llama.cpp's source."""
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
LLAMA_CPP = "0c1e57098"
"""The commit of llama.cpp in it, as its change log says."""

RECIPE = 1
"""Counts the ways in which we built from this source: patches and cmake options. See `build.py`."""

COMMAND = "mistral-cli engines build"
SERVER = "llama-server"
FOLDER_VARIABLE = "MISTRAL_CLI_NATIVE"

_RECORD = "build.json"
_CPUINFO = Path("/proc/cpuinfo")
# What a compiler uses by default. For x86 the kernel lists much more, and its list changes.
_X86 = re.compile(r"s?sse\w+|avx\w*|amx\w*|fma4?|f16c|bmi[12]|abm|popcnt|movbe|gfni")


@dataclass(frozen=True)
class Build:
    """The record of a build: its source, instruction sets, options, recipe and CUDA libraries."""

    source: str
    llama_cpp: str
    instructions: tuple[str, ...]
    cuda: bool
    options: tuple[str, ...]
    recipe: int = 1  # the records of the first did not have it
    cuda_libraries: str = ""  # the folder of PyPI's, if it is linked to those

    def outdated(self) -> str | None:
        """Why it cannot be used here with this version of the program, or None if it can."""
        if lost := sorted({*self.instructions} - {*cpu_instructions()}):
            return f"built for a CPU with {', '.join(lost)}, which this one lacks"
        if self.cuda_libraries and not Path(self.cuda_libraries).is_dir():
            return f"its CUDA libraries in {self.cuda_libraries} are gone"
        if self.source != SDIST:
            return f"built from {self.source}, and this version needs {SDIST}"
        return None

    def improvable(self) -> str | None:
        """Why building again is worthwhile although the build can be used, or None."""
        if self.recipe < RECIPE:
            return f"built by an older version of this program; `{COMMAND}` replaces it"
        return None


def native_folder() -> Path:
    """The folder of the build: in the user's data folder, or as MISTRAL_CLI_NATIVE says."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    from mistral_cli.system.config import data_dir

    return data_dir() / "native"


def server(folder: Path) -> Path:
    """The program in the build that the engine runs."""
    return folder / "bin" / SERVER


def find() -> tuple[Build | None, str | None]:
    """The build on this machine, and why it cannot be used or that there is none."""
    folder = native_folder()
    if problem := supported():
        return None, problem
    if not installed(folder):
        return None, f"there is no machine build (`{COMMAND}` makes one)"
    build = read(folder)
    if problem := build.outdated() if build else "its record is unreadable":
        return build, f"the machine build cannot be used: {problem} (`{COMMAND}` replaces it)"
    return build, None


def installed(folder: Path) -> bool:
    """Whether there is a build, usable or not."""
    return (folder / _RECORD).is_file()


def read(folder: Path) -> Build | None:
    """The record of the build in `folder`; None if there is none, or it is unreadable."""
    try:
        values = read_object((folder / _RECORD).read_bytes())
        lists = {name: tuple(values[name]) for name in ("instructions", "options")}
        return to_dataclass(Build, {**values, **lists})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(build: Build, folder: Path) -> None:
    """Record `build` in `folder`."""
    text = json.dumps(asdict(build), indent=2) + "\n"
    (folder / _RECORD).write_text(text, "utf-8")


def supported() -> str | None:
    """Why this system cannot use a build, or None if it can."""
    if sys.platform != "linux":  # only Linux can end the engine's process with ours
        return "the machine build is for Linux only"
    return None


def gain() -> str:
    """How much a build gains, as far as we measured: with AVX-512, against the wheel's AVX2."""
    if any(name.startswith("avx512") for name in cpu_instructions()):
        return "with AVX-512, as here, one generated 1.35 times as fast (SmolLM2, 2 cores)"
    return "its gain was measured with AVX-512 only, which this CPU lacks"


def cpu_instructions() -> tuple[str, ...]:
    """The instruction sets of this CPU in the kernel's words, or the CPU's name without any."""
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
