"""The script that builds llama.cpp for this machine, and what the program makes of a build."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.program import Result

from mistral_cli.engines.llama_cpp import build as native_build
from mistral_cli.engines.llama_cpp.build import LLAMA_CPP, SDIST, Build
from mistral_cli.engines.registry import automatic, backend

SCRIPT = Path(__file__).parents[3] / "scripts" / "build-native"
TODAY = Build(SDIST, LLAMA_CPP, native_build.cpu_instructions(), cuda=False, options=())

BUILDERS = ("cmake", "c++", "ninja")

linux = pytest.mark.skipif(sys.platform != "linux", reason="the machine build is for Linux")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Build], Path]:
    """Put a record of a build where the program looks for it."""
    monkeypatch.setenv("MISTRAL_CLI_NATIVE", str(tmp_path))

    def record(build: Build) -> Path:
        native_build.write(build, tmp_path)
        return tmp_path

    return record


@pytest.fixture
def build_script(tmp_path: Path) -> Callable[..., Result]:
    """`build_script(*arguments, programs=…)` runs it where it finds programs of those names alone.

    None of them must be run: each fails.
    """

    def script(*arguments: object, programs: tuple[str, ...] = ()) -> Result:
        path, python = tmp_path / "path", tmp_path / "venv" / "bin" / "python"
        for name in programs:
            _program(path / name, "exit 99")
        _program(python, f'exec {sys.executable} "$@"')
        done = subprocess.run(
            ["/bin/sh", SCRIPT, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": f"{path}:{_basics(tmp_path)}", "VENV": str(python.parents[1])},
        )
        return Result(done.stdout, done.stderr, done.returncode)

    return script


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _basics(folder: Path) -> Path:
    """What the shell script itself needs, and no compiler beside it."""
    basics = folder / "basics"
    basics.mkdir()
    found = shutil.which("dirname")
    assert found
    (basics / "dirname").symlink_to(found)
    return basics


@linux
def test_a_build_of_today_can_be_used(record: Callable[[Build], Path]) -> None:
    folder = record(TODAY)
    assert native_build.read(folder) == TODAY
    assert backend("native").missing() is None
    assert automatic()[0] == "native"


@linux
@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (replace(TODAY, instructions=(*TODAY.instructions, "avx9")), "avx9, which this one lacks"),
        (replace(TODAY, source="llama-cpp-python==0.1"), "built from llama-cpp-python==0.1"),
    ],
)
def test_an_outdated_build_says_why(
    record: Callable[[Build], Path], build: Build, reason: str
) -> None:
    record(build)
    missing = backend("native").missing()
    assert missing is not None
    assert reason in missing
    assert "scripts/build-native" in missing


@linux
@pytest.mark.parametrize("text", ["", "{}", "[]", '{"source": 1}', "\0"])
def test_a_damaged_record_is_no_build(record: Callable[[Build], Path], text: str) -> None:
    (record(TODAY) / "build.json").write_text(text)
    assert "cannot be read" in (backend("native").missing() or "")


def test_without_a_build_there_is_no_trace_of_it(run: Callable[..., Result], mistral: Path) -> None:
    assert "native" not in automatic()
    result = run("models", "show", mistral, "--json")
    assert set(json.loads(result.stdout)["engines"]) == {"llama.cpp", "ctransformers"}
    result = run("generate", "x", "-m", mistral, "--engine", "none")
    assert result.status == 2
    assert "native" not in result.stderr


def test_the_engine_named_without_a_build(run: Callable[..., Result], mistral: Path) -> None:
    result = run("generate", "x", "-m", mistral, "--engine", "native")
    assert result.status == 4
    assert "scripts/build-native" in result.stderr


@linux
@pytest.mark.parametrize(
    ("build", "line"),
    [
        (None, r"machine build +there is no machine build \(scripts/build-native"),
        (TODAY, rf"machine build +llama.cpp {LLAMA_CPP}\n"),
        (
            replace(TODAY, source="x"),
            r"machine build +.*of no use: built from x",
        ),
    ],
)
def test_doctor_tells_of_the_build(
    record: Callable[[Build], Path],
    run: Callable[..., Result],
    mistral: Path,
    build: Build | None,
    line: str,
) -> None:
    if build:
        record(build)
    result = run("doctor", "-m", mistral)
    assert result.status == 0
    assert re.search(line, result.stdout)


def test_the_source_is_changed_where_it_is_as_expected_and_nowhere_else(tmp_path: Path) -> None:
    changes = runpy.run_path(str(SCRIPT.with_name("native_changes.py")))
    for change in changes["CHANGES"]:
        path = tmp_path / change.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"int a;\n{change.before}int b;\n", "utf-8")
    changes["apply"](changes["CHANGES"], tmp_path)
    for change in changes["CHANGES"]:
        assert (tmp_path / change.file).read_text() == f"int a;\n{change.after}int b;\n"
    for others in ("", change.before * 2):
        (tmp_path / change.file).write_text(others)
        with pytest.raises(ValueError, match=f"{change.file} is not as expected"):
            changes["apply"](changes["CHANGES"], tmp_path)


def test_instructions_are_known_by_the_names_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(native_build, "_CPUINFO", cpuinfo)
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx512_vnni smep bmi2 fma\n\n")
    assert native_build.cpu_instructions() == ("avx512_vnni", "bmi2", "fma", "sse2")
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd i8mm\n")
    assert native_build.cpu_instructions() == ("asimd", "fp", "i8mm")
    cpuinfo.unlink()
    assert len(native_build.cpu_instructions()) == 1


# --- the script --------------------------------------------------------------------------------


@linux
def test_what_is_missing_is_named(build_script: Callable[..., Result]) -> None:
    result = build_script()
    assert result.status == 1
    assert "cmake is missing; install it with `pip install cmake ninja`" in result.stderr


@linux
def test_another_file_is_not_built(build_script: Callable[..., Result], tmp_path: Path) -> None:
    other = tmp_path / "other.tar.gz"
    other.write_bytes(b"something else")
    into = tmp_path / "native"
    result = build_script("--sdist", other, "--into", into, programs=BUILDERS)
    assert result.status == 1
    assert f"{other} is not {SDIST}: its SHA-256 is " in result.stderr
    assert not into.exists()
    assert not list(tmp_path.glob(".build-native-*"))


@linux
def test_cuda_needs_its_compiler(build_script: Callable[..., Result], tmp_path: Path) -> None:
    if Path("/usr/local/cuda/bin/nvcc").exists():
        pytest.skip("nvcc is installed")
    result = build_script("--cuda", programs=BUILDERS)
    assert result.status == 1
    assert "nvcc is missing" in result.stderr
