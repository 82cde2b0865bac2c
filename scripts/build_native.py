"""Build llama.cpp's server for this machine from the source that llama-cpp-python carries.

Uses the standard library alone, and no network but pip's index: none at all with --sdist.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import native_changes

from mistral_cli.engines.llama_cpp import build as native_build
from mistral_cli.engines.llama_cpp.build import (
    LLAMA_CPP,
    SDIST,
    SDIST_SHA256,
    SERVER,
    Build,
)
from mistral_cli.system.machine import usable_cores

TOOLS = ("llama-bench", "llama-completion", "llama-quantize")
FREE_BYTES = 2 << 30
COMPILERS = ("c++", "g++", "clang++")
CUDA_COMPILER = Path("/usr/local/cuda/bin/nvcc")

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",  # one file a program, which can be copied
    "-DGGML_NATIVE=ON",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    # What it would fetch or link for the network.
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    # The source is in no git repository of its own, and may be in somebody else's.
    f"-DLLAMA_BUILD_COMMIT={LLAMA_CPP}",
    "-DLLAMA_BUILD_NUMBER=0",
    "-DCMAKE_C_FLAGS=-w",
    "-DCMAKE_CXX_FLAGS=-w",
)


class Failure(Exception):
    """What went wrong, and what to do."""


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is removed
    try:
        build(options)
    except Failure as failure:
        sys.exit(f"build-native: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/build-native", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--sdist", type=Path, metavar="FILE", help=f"{SDIST}, already here")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="where the build goes")
    parser.add_argument("--tools", action="store_true", help=f"build {', '.join(TOOLS)} too")
    parser.add_argument("--cuda", action="store_true", help="for NVIDIA GPUs too: needs nvcc")
    parser.add_argument("-j", "--jobs", type=int, default=usable_cores(), metavar="N")
    parser.add_argument("cmake", nargs="*", metavar="-- CMAKE OPTIONS", help="handed to cmake")
    return parser.parse_args()


def build(options: argparse.Namespace) -> None:
    """Everything, from the checks to the record; the old build stays until the new one runs."""
    started = time.monotonic()
    check_system(options)
    into = folder(options.into)
    into.parent.mkdir(parents=True, exist_ok=True)
    check_space(into.parent)
    with tempfile.TemporaryDirectory(prefix=".build-native-", dir=into.parent) as name:
        work = Path(name)
        sdist = options.sdist or download(work)
        source = unpack(checked(sdist), work / "source")
        native_changes.apply(native_changes.CHANGES, source)
        programs = [SERVER, *(TOOLS if options.tools else ())]
        compile_all(source, work / "build", programs, options)
        new = work / "new"
        (new / "bin").mkdir(parents=True)
        for program in programs:
            shutil.copy2(work / "build" / "bin" / program, new / "bin")
        try_out(new)
        record = Build(
            SDIST,
            LLAMA_CPP,
            native_build.cpu_instructions(),
            options.cuda,
            tuple(options.cmake),
        )
        native_build.write(record, new)
        with contextlib.suppress(FileNotFoundError):
            into.rename(work / "old")
        new.rename(into)
    minutes = (time.monotonic() - started) / 60
    say(f"built {', '.join(programs)} in {into} in {minutes:.0f} minutes")


def check_system(options: argparse.Namespace) -> None:
    """Say at once what is missing, and how to get it."""
    if problem := native_build.supported():
        raise Failure(problem)
    cmake()
    compiler = os.environ.get("CXX")
    if not any(map(shutil.which, [compiler] if compiler else COMPILERS)):
        raise Failure(
            f"the C++ compiler {compiler or 'g++'} is missing; install one with "
            "`apt-get install g++` or `dnf install gcc-c++`"
        )
    if not ninja() and not shutil.which("make"):
        raise Failure("ninja is missing, and make too; install one with `pip install ninja`")
    if options.cuda and not cuda_compiler(options.cmake):
        raise Failure(
            "nvcc is missing, the compiler of NVIDIA's CUDA toolkit; install that, or name the "
            "compiler with `-- -DCMAKE_CUDA_COMPILER=/path/to/nvcc`"
        )


def tool(name: str) -> str | None:
    """A program on the path, or in the environment of this Python, where pip puts it."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def cmake() -> str:
    found = tool("cmake")
    if not found:
        raise Failure("cmake is missing; install it with `pip install cmake ninja`")
    return found


def ninja() -> str | None:
    return tool("ninja")


def cuda_compiler(extra: Sequence[str]) -> bool:
    named = any(each.startswith("-DCMAKE_CUDA_COMPILER=") for each in extra)
    found = os.environ.get("CUDACXX") or tool("nvcc") or CUDA_COMPILER.exists()
    return named or bool(found)


def folder(named: Path | None) -> Path:
    try:
        return (named or native_build.native_folder()).absolute()
    except ImportError as error:
        raise Failure(
            f"{error}; install the program first (scripts/install), or use --into FOLDER and "
            f"set {native_build.FOLDER_VARIABLE} to it"
        ) from error


def check_space(place: Path) -> None:
    if shutil.disk_usage(place).free < FREE_BYTES:
        raise Failure(f"{place} has less than {FREE_BYTES >> 30} GiB free, which the build takes")


def download(work: Path) -> Path:
    """Have pip bring the source from its index; it runs none of it before the hash is checked."""
    say(f"downloading {SDIST} with pip ...")
    requirement = work / "requirements.txt"
    requirement.write_text(f"{SDIST} --hash=sha256:{SDIST_SHA256}\n", "utf-8")
    pip = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    pip += ["--disable-pip-version-check", "--no-binary", "llama-cpp-python", "--dest", str(work)]
    done = subprocess.run([*pip, "--requirement", str(requirement)], check=False)
    files = list(work.glob("*.tar.gz"))
    if done.returncode or len(files) != 1:
        raise Failure(f"pip could not download {SDIST}; its file can be given with --sdist")
    return files[0]


def checked(sdist: Path) -> Path:
    """`sdist`, if it is the file that is meant."""
    try:
        with sdist.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Failure(f"cannot read {sdist}: {error.strerror}") from error
    if found != SDIST_SHA256:
        raise Failure(f"{sdist} is not {SDIST}: its SHA-256 is {found}, not {SDIST_SHA256}")
    return sdist


def unpack(sdist: Path, target: Path) -> Path:
    """The folder with llama.cpp's source."""
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    (top,) = target.iterdir()
    return top / "vendor" / "llama.cpp"


def compile_all(
    source: Path, target: Path, programs: Sequence[str], options: argparse.Namespace
) -> None:
    say(f"compiling llama.cpp {LLAMA_CPP} with {options.jobs} jobs ...")
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja()}"] if ninja() else []
    cuda = ["-DGGML_CUDA=ON"] if options.cuda else []
    configure = [cmake(), "-S", str(source), "-B", str(target), *generator, *OPTIONS, *cuda]
    run([*configure, *options.cmake], "cmake could not configure the build", quiet=True)
    command = [cmake(), "--build", str(target), "-j", str(options.jobs), "--target", *programs]
    run(command, "the build failed")


def run(command: Sequence[str], failure: str, *, quiet: bool = False) -> None:
    """Run `command`, whose output goes to stderr, at once or where it fails."""
    output = subprocess.PIPE if quiet else sys.stderr
    done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        if quiet:
            sys.stderr.buffer.write(done.stdout)
        raise Failure(f"{failure} (exit code {done.returncode}; its output is above)")


def try_out(build: Path) -> None:
    """What was built must start here."""
    done = subprocess.run(
        [native_build.server(build), "--version"], capture_output=True, check=False
    )
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise Failure(f"the new {SERVER} does not start ({done.returncode}): {output}")


def say(text: str) -> None:
    print(f"build-native: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
