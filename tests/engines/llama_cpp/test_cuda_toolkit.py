"""Which CUDA compiler a build uses, and how cmake is told about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.nvidia_driver import T4, Card, Machine, put

from mistral_cli.engines.hardware.cuda import Driver, no_driver, query_driver
from mistral_cli.engines.llama_cpp import build, cuda_toolkit, machine_build
from mistral_cli.engines.llama_cpp.build import BuildOptions
from mistral_cli.engines.llama_cpp.cuda_toolkit import (
    CudaToolkit,
    architectures,
    choose_toolkit,
    driver_library,
)
from mistral_cli.engines.llama_cpp.machine_build import LLAMA_CPP, RECIPE, SDIST, Build
from mistral_cli.errors import MistralCliError

ROOT = Path(__file__).parents[3]
H200 = replace(T4, name="NVIDIA H200", capability=(9, 0), total=150_754_820_096)
CUDA_13 = 13000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the machine build is for Linux")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NVIDIA's packages in this environment, and no compiler of the system."""
    folder = tmp_path / "site" / "nvidia" / "cu13"
    for part in cuda_toolkit._PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).touch()
    (folder / "lib").mkdir()
    for library in ("libcudart.so.13", "libcudart_static.a", "libnvrtc-builtins.so.13.5"):
        (folder / "lib" / library).touch()
    monkeypatch.syspath_prepend(folder.parents[1])
    monkeypatch.setattr(cuda_toolkit, "_SYSTEM_COMPILER", tmp_path / "no-nvcc")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CUDACXX", raising=False)
    return folder


def machine(monkeypatch: pytest.MonkeyPatch, *cards: Card, version: int = CUDA_13) -> Driver:
    put(monkeypatch, Machine(cards=cards, version=version))
    return query_driver()


def system_compiler(tmp_path: Path) -> None:
    path = tmp_path / "bin" / "nvcc"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\nexit 99\n")
    path.chmod(0o755)


def test_the_packages_come_before_the_systems_compiler_and_a_named_one_before_both(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = machine(monkeypatch, H200)
    assert choose_toolkit((), driver) == CudaToolkit(packages)
    system_compiler(tmp_path)
    assert choose_toolkit((), driver) == CudaToolkit(packages)
    assert choose_toolkit(("-DCMAKE_CUDA_COMPILER=/x/nvcc",), driver) == CudaToolkit()
    monkeypatch.setenv("CUDACXX", "/x/nvcc")
    assert choose_toolkit((), driver) == CudaToolkit()


@pytest.mark.parametrize(
    ("version", "capability", "missing", "reason"),
    [
        (12040, (7, 5), "", "it is for CUDA 13, and the driver for 12.4"),
        (CUDA_13, (6, 0), "", "capability 6.0, and the oldest that CUDA 13 knows is 7.5"),
        (CUDA_13, (9, 0), "include/cublas_v2.h", "nvidia-cublas is not installed"),
    ],
)
def test_packages_that_cannot_work_are_not_used(
    packages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    capability: tuple[int, int],
    missing: str,
    reason: str,
) -> None:
    if missing:
        (packages / missing).unlink()
    driver = machine(monkeypatch, replace(T4, capability=capability), version=version)
    with pytest.raises(MistralCliError, match="nvcc is missing on this system") as caught:
        choose_toolkit((), driver)
    assert reason in str(caught.value)
    system_compiler(tmp_path)
    assert choose_toolkit((), driver) == CudaToolkit()


@pytest.mark.parametrize(
    ("release", "header", "uses_packages"),
    [("13.0", None, True), ("12.8", None, False), ("13.0", "include/cublas_v2.h", False)],
)
def test_a_system_toolkit_without_cublas_takes_it_from_the_packages(
    packages: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    release: str,
    header: str | None,
    uses_packages: bool,
) -> None:
    (packages / "bin" / "nvcc").unlink()  # as PyTorch brings them
    monkeypatch.setattr(sys, "path", [str(packages.parents[1])])
    toolkit = tmp_path / "toolkit"
    system_compiler(tmp_path)
    said = f"echo '#$ TOP={toolkit}/bin/..' >&2; echo 'Cuda tools, release {release}, V{release}.1'"
    (tmp_path / "bin" / "nvcc").write_text(f"#!/bin/sh\n{said}\n")
    (toolkit / "bin").mkdir(parents=True)
    monkeypatch.setattr(cuda_toolkit, "_HEADERS", ())
    if header:
        (toolkit / header).parent.mkdir()
        (toolkit / header).touch()
    chosen = choose_toolkit((), machine(monkeypatch, H200))
    assert chosen == CudaToolkit(cublas=packages if uses_packages else None)
    options = chosen.cmake_options(tmp_path / "view")
    assert (f"-DCUDA_cublas_LIBRARY={packages}/lib/libcublas.so.13" in options) == uses_packages
    if uses_packages:
        assert chosen.libraries == packages / "lib"
        assert [each.name for each in (tmp_path / "view").iterdir()] == ["cublas_v2.h"]


def test_without_any_compiler_the_error_names_the_packages(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_toolkit, "_packages", lambda: None)
    with pytest.raises(MistralCliError, match="nvcc is missing") as caught:
        choose_toolkit((), no_driver())
    assert "pip install 'mistral-cli[cuda-build]'" in (caught.value.hint or "")


def test_only_the_cards_of_this_machine_are_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for cards, expected in (
        ((T4,), "75-real"),
        ((H200, T4, T4), "75-real;90-real"),
        ((replace(T4, capability=(12, 0)),), "120-real"),
    ):
        assert architectures(machine(monkeypatch, *cards)) == expected
    assert architectures(no_driver()) is None


def test_the_view_is_a_toolkit_with_the_names_that_a_linker_looks_for(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, found = tmp_path / "view", tmp_path / "libcuda.so.1"
    monkeypatch.setattr(cuda_toolkit, "driver_library", lambda: found)
    options = CudaToolkit(packages).cmake_options(view)
    assert f"-DCMAKE_CUDA_COMPILER={view}/bin/nvcc" in options
    assert f"-DCUDA_cuda_driver_LIBRARY={found}" in options
    assert f'-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath,"{packages}/lib"' in options
    for name in ("bin/nvcc", "nvvm/bin/cicc", "include/cublas_v2.h", "lib/libcudart_static.a"):
        assert (view / name).exists(), name
    for name in ("libcudart.so", "libcudart.so.13", "libnvrtc-builtins.so"):
        assert (view / "lib64" / name).resolve().parent == packages / "lib"
    monkeypatch.setattr(cuda_toolkit, "driver_library", lambda: None)
    assert "-DGGML_CUDA_NO_VMM=ON" in CudaToolkit(packages).cmake_options(tmp_path / "other")
    assert CudaToolkit().cmake_options(tmp_path / "none") == []


def test_the_options_for_cmake_by_the_card_and_by_what_was_asked(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def options(*cmake: str) -> list[str]:
        asked = BuildOptions(1, cuda=True, cmake=cmake)
        return build._cuda_options(asked, CudaToolkit(), machine(monkeypatch, H200), tmp_path)

    assert options() == ["-DGGML_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=90-real"]
    assert options("-DCMAKE_CUDA_ARCHITECTURES=75") == ["-DGGML_CUDA=ON"]


def test_the_driver_library_is_found_where_only_the_loader_knows_it(tmp_path: Path) -> None:
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler")
    source = ROOT / "tests" / "support" / "stub_driver" / "cuda.c"
    library = tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    code = f"from {driver_library.__module__} import driver_library; print(driver_library())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(library)


def test_a_build_whose_cuda_libraries_are_gone_is_not_run(tmp_path: Path) -> None:
    libraries = tmp_path / "lib"
    today = Build(
        SDIST, LLAMA_CPP, machine_build.cpu_instructions(), True, (), RECIPE, str(libraries)
    )
    assert f"its CUDA libraries in {libraries} are gone" in (today.outdated() or "")
    libraries.mkdir()
    assert today.outdated() is None


KERNEL = """
#include <cublas_v2.h>
#include <cub/cub.cuh>
#include <mma.h>
__global__ void twice(float *x) { x[threadIdx.x] *= 2; }
int main() { twice<<<1, 32>>>(nullptr); cublasHandle_t handle; return cublasCreate(&handle); }
"""
PROJECT = """
cmake_minimum_required(VERSION 3.18)
project(kernel LANGUAGES CUDA CXX)
find_package(CUDAToolkit REQUIRED)
add_executable(kernel kernel.cu)
target_link_libraries(kernel CUDA::cudart CUDA::cublas)
"""


@pytest.mark.skipif(
    cuda_toolkit._packages() is None, reason="needs `pip install 'mistral-cli[cuda-build]'`"
)
def test_the_real_packages_compile_a_kernel_for_a_t4_and_an_h200(tmp_path: Path) -> None:
    folder = cuda_toolkit._packages()
    assert folder
    libraries = compile_with(CudaToolkit(folder), tmp_path)
    assert f"libcublas.so.13 => {folder}/lib/libcublas.so.13" in libraries
    assert b"sm_90" in (tmp_path / "build" / "kernel").read_bytes()


CUBLAS = cuda_toolkit._folder_with("include/cublas_v2.h")
COMPILER = cuda_toolkit.system_compiler()


@pytest.mark.skipif(
    not (CUBLAS and COMPILER and cuda_toolkit._missing_cublas(COMPILER)),
    reason="needs a CUDA toolkit without cuBLAS, and NVIDIA's package of it",
)
def test_the_systems_compiler_and_cublas_of_the_packages(tmp_path: Path) -> None:
    libraries = compile_with(CudaToolkit(cublas=CUBLAS), tmp_path)
    assert f"libcublas.so.13 => {CUBLAS}/lib/libcublas.so.13" in libraries
    assert "not found" not in libraries


def compile_with(toolkit: CudaToolkit, tmp_path: Path) -> str:
    """Compile a program that uses cuBLAS, and return the libraries that it loads."""
    (tmp_path / "kernel.cu").write_text(KERNEL)
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    options = toolkit.cmake_options(tmp_path / "view")
    cards = "-DCMAKE_CUDA_ARCHITECTURES=75-real;90-real"
    configure = ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build"), cards, *options]
    for command in (configure, ["cmake", "--build", str(tmp_path / "build")]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    program = ["ldd", str(tmp_path / "build" / "kernel")]
    return subprocess.run(program, check=True, capture_output=True, text=True).stdout
