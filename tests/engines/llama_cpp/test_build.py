"""Building llama.cpp for this machine, and how the program uses a build."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.processes import gone
from support.program import Result

from mistral_cli.engines.gpu_layers import NONE
from mistral_cli.engines.llama_cpp import machine_build, patches
from mistral_cli.engines.llama_cpp.build import OPTIONS
from mistral_cli.engines.llama_cpp.machine_build import LLAMA_CPP, RECIPE, SDIST, Build
from mistral_cli.engines.registry import automatic, backend
from mistral_cli.engines.selection import EngineRequirements, select_engine
from mistral_cli.models.gguf import read_gguf

ROOT = Path(__file__).parents[3]
TODAY = Build(SDIST, LLAMA_CPP, machine_build.cpu_instructions(), False, (), RECIPE)

BUILDERS = ("cmake", "c++", "ninja")

linux = pytest.mark.skipif(sys.platform != "linux", reason="the machine build is for Linux")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Build], Path]:
    """Put a record of a build where the program looks for it."""
    monkeypatch.setenv("MISTRAL_CLI_NATIVE", str(tmp_path))

    def record(build: Build) -> Path:
        machine_build.write(build, tmp_path)
        return tmp_path

    return record


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Result]:
    """`build(*arguments, programs=…)` builds on a machine with the programs of those names only.

    None of them may run: each fails.
    """

    def build(*arguments: object, programs: tuple[str, ...] = ()) -> Result:
        path = tmp_path / "path"
        for name in programs:
            _program(path / name, "exit 99")
        done = subprocess.run(
            [sys.executable, "-m", "mistral_cli", "engines", "build", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": str(path), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        )
        return Result(done.stdout, done.stderr, done.returncode)

    return build


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@linux
def test_a_current_build_can_be_used(record: Callable[[Build], Path]) -> None:
    folder = record(TODAY)
    assert machine_build.read(folder) == TODAY
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
    assert "`mistral-cli engines build` replaces it" in missing


@linux
@pytest.mark.parametrize("text", ["", "{}", "[]", '{"source": 1}', "\0"])
def test_a_damaged_record_is_not_a_build(record: Callable[[Build], Path], text: str) -> None:
    (record(TODAY) / "build.json").write_text(text)
    assert "is unreadable" in (backend("native").missing() or "")


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
    assert "`mistral-cli engines build` makes one" in result.stderr


@linux
@pytest.mark.parametrize(
    ("build", "line"),
    [
        (None, r"machine build +there is no machine build \(`mistral-cli engines build` makes one"),
        (TODAY, rf"machine build +llama.cpp {LLAMA_CPP}\n"),
        (
            replace(TODAY, recipe=RECIPE - 1),
            r"machine build +llama.cpp \w+; built by an older version of this program",
        ),
        (
            replace(TODAY, source="x"),
            r"machine build +.*cannot be used: built from x",
        ),
    ],
)
def test_doctor_reports_the_build(
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


def test_the_source_is_patched_only_where_it_is_as_expected(tmp_path: Path) -> None:
    for patch in patches.PATCHES:
        path = tmp_path / patch.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"int a;\n{patch.before}int b;\n", "utf-8")
    patches.apply(patches.PATCHES, tmp_path)
    for patch in patches.PATCHES:
        assert (tmp_path / patch.file).read_text() == f"int a;\n{patch.after}int b;\n"
    for others in ("", patch.before * 2):
        (tmp_path / patch.file).write_text(others)
        with pytest.raises(ValueError, match=f"{patch.file} is not as expected"):
            patches.apply(patches.PATCHES, tmp_path)


def test_the_recipe_has_a_new_number_when_it_changes() -> None:
    """If this fails: raise RECIPE, then change the digest here. Older builds then get a note."""
    recipe = repr((SDIST, OPTIONS, patches.PATCHES)).encode()
    assert (RECIPE, hashlib.sha256(recipe).hexdigest()[:16]) == (1, "afb9aec6b4281841")


@linux
def test_a_build_by_an_older_version_still_works_and_says_so(
    record: Callable[[Build], Path], run: Callable[..., Result]
) -> None:
    folder = record(TODAY)
    assert backend("native").note() is None
    fields = json.loads((folder / "build.json").read_text())
    del fields["recipe"]  # as the first versions wrote it
    (folder / "build.json").write_text(json.dumps(fields))
    assert machine_build.read(folder) == replace(TODAY, recipe=1)
    record(replace(TODAY, recipe=RECIPE - 1))
    assert backend("native").missing() is None
    assert "built by an older version" in (backend("native").note() or "")
    (native, *_) = json.loads(run("engines", "list", "--json").stdout)["engines"]
    assert native["name"] == "native"
    assert "yes; built by an older version" in native["usable"]


@linux
def test_the_reason_for_an_engine_says_that_its_build_is_old(
    record: Callable[[Build], Path], mistral: Path
) -> None:
    record(replace(TODAY, recipe=RECIPE - 1))
    selection = select_engine(EngineRequirements("native", NONE), read_gguf(mistral))
    assert "built by an older version" in selection.reason


def test_engines_are_listed_in_the_order_of_auto(run: Callable[..., Result]) -> None:
    rows = json.loads(run("engines", "list", "--json").stdout)["engines"]
    assert [row["name"] for row in rows] == list(automatic()) == ["llama.cpp", "ctransformers"]
    assert list(rows[0]) == ["name", "package", "version", "usable", "gpu"]
    assert rows[0]["usable"] == "yes"
    assert rows[0]["gpu"].startswith("no: ")


def test_instructions_are_known_by_the_names_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine_build, "_CPUINFO", cpuinfo)
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx512_vnni smep bmi2 fma\n\n")
    assert machine_build.cpu_instructions() == ("avx512_vnni", "bmi2", "fma", "sse2")
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd i8mm\n")
    assert machine_build.cpu_instructions() == ("asimd", "fp", "i8mm")
    cpuinfo.unlink()
    assert len(machine_build.cpu_instructions()) == 1


# --- the command -------------------------------------------------------------------------------


@linux
def test_what_is_missing_is_named(build: Callable[..., Result]) -> None:
    result = build()
    assert result.status == 1
    assert "cmake is missing" in result.stderr
    assert "Install it with `pip install cmake ninja`." in result.stderr


@linux
def test_another_file_is_not_built(build: Callable[..., Result], tmp_path: Path) -> None:
    other = tmp_path / "other.tar.gz"
    other.write_bytes(b"something else")
    into = tmp_path / "builds" / "native"
    result = build("--sdist", other, "--into", into, programs=BUILDERS)
    assert result.status == 1
    assert f"{other} is not {SDIST}: its SHA-256 is " in result.stderr
    assert not list(into.parent.iterdir())


@linux
def test_cuda_needs_its_compiler(build: Callable[..., Result]) -> None:
    if Path("/usr/local/cuda/bin/nvcc").exists():
        pytest.skip("nvcc is installed")
    result = build("--cuda", programs=BUILDERS)
    assert result.status == 1
    assert "nvcc is missing" in result.stderr


BUILD = """
import sys
from pathlib import Path
from mistral_cli.engines.llama_cpp import build, patches
from mistral_cli.system.signals import stoppable
build._checked = lambda sdist: sdist
patches.PATCHES = ()
with stoppable():  # as every command runs
    work = Path(sys.argv[3]) if sys.argv[3:] else None
    build.build(build.BuildOptions(1, sdist=Path(sys.argv[1]), work=work), Path(sys.argv[2]), print)
"""

CMAKE = """
while [ "$1" != --build ] && [ "$1" ]; do shift; done
[ "$1" ] || exit 0
mkdir -p "$2/bin"
printf '#!/bin/sh\n' > "$2/bin/llama-server"
chmod +x "$2/bin/llama-server"
[ -e "$SLOW" ] || exit 0
sleep 300 &
echo $! > "$SLOW.pid"
wait
"""


@dataclass
class Builder:
    """Builds with a cmake that compiles nothing, into `into`; `slow` while that file exists."""

    folder: Path

    def __post_init__(self) -> None:
        self.into, self.slow = self.folder / "builds" / "native", self.folder / "slow"
        with tarfile.open(self.folder / "sdist.tar.gz", "w:gz") as archive:
            archive.add(Path(__file__).parent, "top/vendor/llama.cpp", recursive=False)
        _program(self.folder / "path" / "cmake", CMAKE)
        for name in ("c++", "ninja"):
            _program(self.folder / "path" / name, "exit 99")

    def start(self, *work: Path) -> subprocess.Popen[bytes]:
        path = f"{self.folder / 'path'}:{os.environ['PATH']}"
        command = [sys.executable, "-c", BUILD, self.folder / "sdist.tar.gz", self.into, *work]
        return subprocess.Popen(command, env={**os.environ, "PATH": path, "SLOW": str(self.slow)})

    def start_slowly(self) -> tuple[subprocess.Popen[bytes], int]:
        """A build that is compiling, and a compiler that it runs."""
        self.slow.touch()
        process, pid = self.start(), self.slow.with_suffix(".pid")
        deadline = time.monotonic() + 30
        while not pid.exists() or not pid.read_text().strip():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.slow.unlink()
        return process, int(pid.read_text())

    def left(self) -> list[str]:
        return sorted(each.name for each in self.into.parent.iterdir())


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


@linux
def test_a_build_replaces_the_one_before(builder: Builder) -> None:
    builder.into.mkdir(parents=True)
    (builder.into / "old").touch()
    assert builder.start().wait(30) == 0
    assert builder.left() == ["native"]
    assert sorted(each.name for each in builder.into.iterdir()) == ["bin", "build.json"]
    record = machine_build.read(builder.into)
    assert record == TODAY
    assert not record.improvable()


@linux
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_stopped_leaves_the_one_before(
    builder: Builder, by: signal.Signals
) -> None:
    assert builder.start().wait(30) == 0
    process, compiler = builder.start_slowly()
    process.send_signal(by)
    assert process.wait(30) != 0
    assert gone(compiler)
    assert builder.left() == ["native"]
    assert machine_build.read(builder.into) == TODAY


@linux
def test_a_build_that_is_killed_leaves_no_compiler_and_the_next_one_cleans_up(
    builder: Builder,
) -> None:
    process, compiler = builder.start_slowly()
    process.kill()
    process.wait(30)
    assert gone(compiler)
    assert builder.left() != ["native"]
    assert builder.start().wait(30) == 0
    assert builder.left() == ["native"]


@linux
def test_a_build_in_a_folder_of_its_own_keeps_it_and_continues(builder: Builder) -> None:
    work = builder.folder / "work"
    assert builder.start(work).wait(30) == 0
    compiled, unpacked = work / "build" / "object.o", work / "source" / "top"
    compiled.touch()
    before = unpacked.stat().st_ctime_ns
    assert builder.start(work).wait(30) == 0
    assert compiled.exists()
    assert unpacked.stat().st_ctime_ns == before
    (work / "source.sha256").write_text("of another source")
    assert builder.start(work).wait(30) == 0
    assert not compiled.exists()
    assert builder.left() == ["native"]
