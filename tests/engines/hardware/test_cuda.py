"""A driver's native libraries, and a program that survives bad ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mistral_cli.engines.hardware import cuda
from mistral_cli.engines.hardware import probe as report
from mistral_cli.engines.hardware.probe import probe, probe_in_child
from mistral_cli.engines.llama_cpp import in_process as llama_cpp
from mistral_cli.engines.registry import automatic, backend
from mistral_cli.engines.selection import EngineRequirements, select_engine
from mistral_cli.models.gguf import read_gguf

LLAMA_CPP = backend("llama.cpp")

SOURCES = Path(__file__).parents[2] / "support" / "stub_driver"


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the libraries of a machine that has one T4."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or sys.platform != "linux":
        pytest.skip("there is no C compiler, or this is not Linux")
    folder = tmp_path_factory.mktemp("driver")
    for source, library in (("cuda.c", "libcuda.so.1"), ("nvml.c", "libnvidia-ml.so.1")):
        command = [compiler, "-shared", "-fPIC", "-o", folder / library, SOURCES / source]
        subprocess.run(command, check=True)
    return folder


def main(driver: Path, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """The program on a machine with `driver`; it waits one second for answers instead of thirty."""
    code = (
        "from mistral_cli.engines.hardware import probe; probe._SECONDS = 1.0\n"
        "from mistral_cli.cli.app import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "LD_LIBRARY_PATH": str(driver), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_native_calls(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures, signatures and symbols; lines that it prints do not get into the answers."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    found = probe_in_child().driver
    gpu = cuda.CudaGpu("Tesla T4", 15_835_660_288, 15_720_000_000, (7, 5))
    assert (found.problem, found.cuda_version, found.gpus) == (None, (12, 4), (gpu,))


def test_doctor_with_a_driver_that_hangs(driver: Path, mistral: Path) -> None:
    result = main(driver, "doctor", "-m", mistral, "--json", STUB_HANGS="1")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert "has not answered within 1 seconds" in found["driver"]["problem"]
    assert found["would_use"]["gpu_layers"] == 0


def test_generate_with_a_driver_that_hangs(driver: Path, mistral: Path) -> None:
    command = ("generate", "hi", "-m", mistral, "-n", 2)
    result = main(driver, *command, STUB_HANGS="1")
    assert (result.returncode, bool(result.stdout)) == (0, True), result.stderr
    assert "warning: no GPU can be used" in result.stderr
    assert "has not answered within 1 seconds" in result.stderr
    for none_is_meant in (("-ngl", "0"), ("--engine", "fake")):
        quick = main(driver, *command, *none_is_meant, STUB_HANGS="1")
        assert "answered" not in quick.stderr


def test_generate_with_a_build_that_ends_the_process(
    driver: Path, mistral: Path, tmp_path: Path
) -> None:
    code = "import os, xllamacpp\nxllamacpp.get_device_info = lambda: os.abort()"
    (tmp_path / "sitecustomize.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = main(driver, "generate", "hi", "-m", mistral, "-n", 2, "--json", PYTHONPATH=path)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["warnings"][0].startswith("Tesla T4 is not used, and the CPU computes all")
    # The other engine has answered before.
    assert "ended the process (-6); ctransformers: libcudart" in answer["gpu_reason"]


def test_a_machine_without_a_driver_starts_no_process(
    monkeypatch: pytest.MonkeyPatch, mistral: Path
) -> None:
    monkeypatch.setattr(report, "probe_in_child", lambda: pytest.fail("a process was started"))
    survey = probe(automatic())
    assert not survey.gpus
    assert survey.driver == cuda.no_driver()
    assert select_engine(EngineRequirements(), read_gguf(mistral)).warning is None


def test_a_build_for_a_gpu_is_known_by_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LLAMA_CPP.missing() is None  # which imports it
    if sys.platform == "linux":
        assert "xllamacpp" in llama_cpp._loaded_libraries()
    assert not LLAMA_CPP.loads_gpu_driver()
    for library in ("/usr/lib/libvulkan.so.1", "/venv/xllamacpp.libs/libcublas-1b2c.so.12.4"):
        monkeypatch.setattr(llama_cpp, "_loaded_libraries", lambda path=library: path)
        assert LLAMA_CPP.loads_gpu_driver()
