"""The source of a build in one small file, for a machine without a network.

llama-cpp-python's source distribution is 77 MB, of which a build needs 8 MB: the rest are
vocabularies for llama.cpp's tests, pictures and documents. The file has the layout of the folder
that `engines build --work` keeps, so a build continues there without a download.
"""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from gpu.commands import StepFailed
from mistral_cli.engines.llama_cpp import build
from mistral_cli.errors import MistralCliError
from mistral_cli.system.files import scratch_folder

_LLAMA_CPP = ("vendor", "llama.cpp")
_NOT_COMPILED = {"docs", "models", "benches", "tests", "media", "conversion", "gguf-py", "grammars"}


def pack(file: Path, sdist: Path | None = None) -> None:
    """Write the patched source to `file` (.tar.xz), from `sdist` or a download with pip."""
    with scratch_folder() as work:
        build._source(work, build.BuildOptions(1, sdist=sdist), print)
        part = file.with_name(f"{file.name}.part")
        with tarfile.open(part, "w:xz") as archive:
            archive.add(work / "source.sha256", "source.sha256")
            archive.add(work / "source", "source", filter=_wanted)
        part.replace(file)


def unpack(file: Path, work: Path) -> None:
    """Unpack such a file where `engines build --work` finds it. Raises StepFailed."""
    if (work / "source.sha256").exists():
        return
    try:
        with tarfile.open(file) as archive:
            archive.extractall(work, filter="data")
    except (OSError, tarfile.TarError, MistralCliError) as error:
        raise StepFailed(f"{file} cannot be unpacked: {error}") from error


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """`member`, if cmake or a compiler reads it: names are source/TOP/vendor/llama.cpp/…"""
    parts = PurePosixPath(member.name).parts[2:]
    inside = parts[len(_LLAMA_CPP) :]
    if parts[: len(_LLAMA_CPP)] != _LLAMA_CPP[: len(parts)] or member.name.endswith(".gguf"):
        return None
    return None if inside and inside[0] in _NOT_COMPILED else member
