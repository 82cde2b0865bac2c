"""The CUDA compiler of a machine build: the system's, or NVIDIA's packages from PyPI.

The packages lie in `nvidia/cu13` of this Python's environment, one folder for all of them. They
are laid out as a toolkit except for the names that a linker looks for (`libcudart.so`), so a build
sees them through a folder of links.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import MistralCliError

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.cuda import Driver

EXTRA = "mistral-cli[cuda-build]"
_MAJOR, _OLDEST_CARD = 13, (7, 5)
"""The CUDA of the packages, and the oldest card that its compiler knows."""

_PARTS = {
    "bin/nvcc": "nvidia-cuda-nvcc",
    "bin/crt": "nvidia-cuda-crt",
    "nvvm/bin/cicc": "nvidia-nvvm",
    "include/cuda_runtime.h": "nvidia-cuda-runtime",
    "include/cccl": "nvidia-cuda-cccl",
    "include/cublas_v2.h": "nvidia-cublas",
}
_CUBLAS = ("cublas", "cublasLt")
_HEADERS = (Path("/usr/include"), Path("/usr/include/x86_64-linux-gnu"))
_NAMED = "-DCMAKE_CUDA_COMPILER="
_SYSTEM_COMPILER = Path("/usr/local/cuda/bin/nvcc")


@dataclass(frozen=True)
class CudaToolkit:
    """Where nvcc and cuBLAS come from: a folder of the packages, or None for the system."""

    folder: Path | None = None
    cublas: Path | None = None

    @property
    def libraries(self) -> Path | None:
        """The folder of packages with libraries that the built program loads when it starts."""
        folder = self.folder or self.cublas
        return folder and folder / "lib"

    def cmake_options(self, view: Path) -> list[str]:
        """The options for cmake; makes the folder of links `view` if it is needed.

        The build is linked to the libraries where the packages have them. Without a driver it
        cannot be linked to the driver's memory functions, and does without them.
        """
        if not self.libraries:
            return []
        driver = driver_library()
        memory = f"-DCUDA_cuda_driver_LIBRARY={driver}" if driver else "-DGGML_CUDA_NO_VMM=ON"
        shutil.rmtree(view, ignore_errors=True)  # of a build that was stopped
        if self.cublas:
            _link_headers(self.cublas, view)
            libraries = [
                f"-DCUDA_{name}_LIBRARY={self.libraries}/lib{name}.so.{_MAJOR}" for name in _CUBLAS
            ]
            return [f'-DCMAKE_CUDA_FLAGS=-I"{view}"', *libraries, memory]
        assert self.folder
        _link(self.folder, view)
        return [
            f"{_NAMED}{view / 'bin' / 'nvcc'}",
            f"-DCUDAToolkit_ROOT={view}",
            "-DCMAKE_SKIP_BUILD_RPATH=ON",  # it would name `view`, which goes after the build
            f'-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath,"{self.libraries}"',
            memory,
        ]


def choose_toolkit(cmake: Sequence[str], driver: Driver) -> CudaToolkit:
    """The toolkit for a build with the options `cmake` on a machine with `driver`.

    A compiler that is named in them or in CUDACXX comes first. The packages come before the
    system's compiler, because who installs them wants them; but only if the driver and the cards
    know their CUDA. A system's toolkit without cuBLAS takes it from the packages: PyTorch brings
    it. Raises MistralCliError if there is no compiler.
    """
    if os.environ.get("CUDACXX") or any(each.startswith(_NAMED) for each in cmake):
        return CudaToolkit()
    folder = _packages()
    problem = _unsuitable(folder, driver) if folder else None
    if folder and not problem:
        return CudaToolkit(folder)
    if compiler := system_compiler():
        return CudaToolkit(cublas=_missing_cublas(compiler))
    if problem:
        raise MistralCliError(
            f"nvcc is missing on this system, and the one in {folder} cannot be used: {problem}",
            hint="Install the CUDA toolkit for this driver, or complete the packages with "
            f"`pip install '{EXTRA}'`.",
        )
    raise MistralCliError(
        "nvcc is missing, the compiler of NVIDIA's CUDA toolkit",
        hint=f"Install it with `pip install '{EXTRA}'`, or name one: `-- {_NAMED}/path/to/nvcc`.",
    )


def architectures(driver: Driver) -> str | None:
    """CMAKE_CUDA_ARCHITECTURES for the cards of this machine and no others; None without any.

    A build for all the architectures that llama.cpp lists takes several times as long.
    """
    found = sorted({gpu.compute_capability for gpu in driver.gpus})
    return ";".join(f"{major}{minor}-real" for major, minor in found) or None


def driver_library() -> Path | None:
    """The file of NVIDIA's driver library, which may be in a folder that only the loader knows."""
    with contextlib.suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
            path = line.partition("/")
            if path[1] and Path(path[2]).name.startswith("libcuda.so"):
                return Path(f"/{path[2]}")
    return None


def system_compiler() -> str | None:
    """The path of the system's nvcc, or None if there is none."""
    beside = str(Path(sys.executable).parent)
    standard = str(_SYSTEM_COMPILER) if _SYSTEM_COMPILER.exists() else None
    return shutil.which("nvcc") or shutil.which("nvcc", path=beside) or standard


def _missing_cublas(compiler: str) -> Path | None:
    """The folder of the packages, if they have the cuBLAS that `compiler`'s toolkit lacks."""
    if not lacks_cublas(compiler):
        return None
    command = [compiler, "--version"]
    release = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = _folder_with("include/cublas_v2.h")
    return found if f"release {_MAJOR}." in release else None


def lacks_cublas(compiler: str) -> bool:
    """Whether the toolkit of `compiler` has no cuBLAS, as far as the compiler tells where it is.

    It is asked because what is on the path can be a script that starts another one.
    """
    dry = [compiler, "--dryrun", "nothing.cu"]
    said = subprocess.run(dry, capture_output=True, text=True, check=False).stderr
    top = re.search(r"^#\$ TOP=(.+)$", said, re.MULTILINE)
    if not top:
        return False
    root = Path(top[1].strip())
    folders = (root / "include", *root.glob("targets/*/include"), *_HEADERS)
    return not any((folder / "cublas_v2.h").exists() for folder in folders)


def _packages() -> Path | None:
    """The folder of NVIDIA's packages, if the compiler is among them."""
    return _folder_with("bin/nvcc")


def _folder_with(part: str) -> Path | None:
    spec = util.find_spec("nvidia")
    folders = (
        (Path(each) / f"cu{_MAJOR}" for each in spec.submodule_search_locations or ())
        if spec
        else ()
    )
    return next((folder for folder in folders if (folder / part).exists()), None)


def _unsuitable(folder: Path, driver: Driver) -> str | None:
    """Why a build with the packages would fail, or could not run with `driver`."""
    if missing := [name for part, name in _PARTS.items() if not (folder / part).exists()]:
        return f"{', '.join(missing)} is not installed"
    if driver.cuda_version and driver.cuda_version[0] < _MAJOR:
        return f"it is for CUDA {_MAJOR}, and the driver for {_dotted(driver.cuda_version)}"
    if driver.gpus and driver.weakest < _OLDEST_CARD:
        known = f"the oldest that CUDA {_MAJOR} knows is {_dotted(_OLDEST_CARD)}"
        return f"the card has compute capability {_dotted(driver.weakest)}, and {known}"
    return None


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _link_headers(folder: Path, view: Path) -> None:
    """Make `view` a folder with cuBLAS' headers only: the others are of the compiler's version."""
    view.mkdir(parents=True)
    for header in (folder / "include").glob("cublas*.h"):
        (view / header.name).symlink_to(header)


def _link(folder: Path, view: Path) -> None:
    """Make `view`, a toolkit's folders with links to the packages in `folder`."""
    libraries = view / "lib64"
    libraries.mkdir(parents=True)
    for name in ("bin", "include", "nvvm"):
        (view / name).symlink_to(folder / name)
    for library in (folder / "lib").iterdir():
        (libraries / library.name).symlink_to(library)
        stem, shared, _ = library.name.partition(".so.")
        if shared and not (libraries / f"{stem}.so").exists():
            (libraries / f"{stem}.so").symlink_to(library)
    (view / "lib").symlink_to("lib64")
