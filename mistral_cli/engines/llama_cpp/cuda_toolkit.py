"""The CUDA compiler of a machine build: the system's, or NVIDIA's packages from PyPI.

The packages lie in `nvidia/cu13` of this Python's environment, one folder for all of them. They
are laid out as a toolkit except for the names that a linker looks for (`libcudart.so`), so a build
sees them through a folder of links.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
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
_NAMED = "-DCMAKE_CUDA_COMPILER="
_SYSTEM_COMPILER = Path("/usr/local/cuda/bin/nvcc")


@dataclass(frozen=True)
class CudaToolkit:
    """Where nvcc comes from. `folder` is that of the packages, or None for the system's."""

    folder: Path | None = None

    @property
    def libraries(self) -> Path | None:
        """The folder with the CUDA libraries that the built program loads when it starts."""
        return self.folder and self.folder / "lib"

    def cmake_options(self, view: Path) -> list[str]:
        """The options for cmake; makes the folder of links `view` if it is needed.

        The build is linked to the libraries where the packages have them. Without a driver it
        cannot be linked to the driver's memory functions, and does without them.
        """
        if not self.folder:
            return []
        _link(self.folder, view)
        driver = driver_library()
        memory = f"-DCUDA_cuda_driver_LIBRARY={driver}" if driver else "-DGGML_CUDA_NO_VMM=ON"
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
    system's compiler, because who installs them wants them, and a system's toolkit often has no
    cuBLAS; but only if the driver and the cards know their CUDA. Raises MistralCliError if there
    is none.
    """
    if os.environ.get("CUDACXX") or any(each.startswith(_NAMED) for each in cmake):
        return CudaToolkit()
    folder = _packages()
    problem = _unsuitable(folder, driver) if folder else None
    if folder and not problem:
        return CudaToolkit(folder)
    beside = str(Path(sys.executable).parent)
    if shutil.which("nvcc") or shutil.which("nvcc", path=beside) or _SYSTEM_COMPILER.exists():
        return CudaToolkit()
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


def _packages() -> Path | None:
    """The folder of NVIDIA's packages, if the compiler is among them."""
    spec = util.find_spec("nvidia")
    folders = (
        (Path(each) / f"cu{_MAJOR}" for each in spec.submodule_search_locations or ())
        if spec
        else ()
    )
    return next((folder for folder in folders if (folder / "bin" / "nvcc").exists()), None)


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


def _link(folder: Path, view: Path) -> None:
    """Make `view`, a toolkit's folders with links to the packages in `folder`."""
    shutil.rmtree(view, ignore_errors=True)  # of a build that was stopped
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
