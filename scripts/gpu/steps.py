"""The steps of the check. Each returns what it found, or raises StepFailed or StepSkipped."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gpu.commands import Finished, Shell, StepFailed, StepSkipped
from gpu.memory import FillFailed, Watched, filled, watching
from gpu.pack import unpack

ROOT = Path(__file__).parents[2]
_MARGIN, _MARGIN_SHARE = 512 * 2**20, 20  # as `engines/hardware/gpu.py` leaves free
_CONTEXT = 8192
_SHORT = 2 * 2**30
_TEXT = " ".join(f"Sentence {number} of the harbour's history is short." for number in range(20))
_FIND_COMPILER = """
import os
from mistral_cli.engines.hardware.probe import probe_in_child
from mistral_cli.engines.llama_cpp.cuda_toolkit import choose_toolkit, lacks_cublas, system_compiler
toolkit = choose_toolkit((), probe_in_child().driver)
compiler = os.environ.get("CUDACXX") or system_compiler()
lacking = not toolkit.libraries and lacks_cublas(compiler)
cublas = "no cuBLAS" if lacking else toolkit.libraries or "the system"
print(f"nvcc of {toolkit.folder or compiler}, cuBLAS of {cublas}")
"""
Found = dict[str, Any]


@dataclass
class Setting:
    """What the steps work with. `program` is this program's command.

    `work` is kept between runs; the machine build goes to `native`. `models` are the files that the
    step "model" made or was given, and `driver` and `engines` what the step "machine" found.
    """

    shell: Shell
    work: Path
    program: list[str]
    model: Path | None = None
    small: bool = False
    sdist: Path | None = None
    source: Path | None = None
    driver: Found = field(default_factory=dict)
    engines: Found = field(default_factory=dict)

    @property
    def native(self) -> Path:
        """The folder of the machine build that this check makes."""
        return self.work / "native"

    @property
    def context(self) -> int:
        """Tokens of context for the comparison of memory: what the model has, at most."""
        return 512 if self.small else _CONTEXT

    @property
    def env(self) -> dict[str, str | None]:
        """The environment of the program: the check's own build, and every GPU visible."""
        return {"MISTRAL_CLI_NATIVE": str(self.native), "CUDA_VISIBLE_DEVICES": None}

    def ours(self, *arguments: object, seconds: float, **env: str) -> Finished:
        """Run the program."""
        return self.shell.run([*self.program, *arguments], seconds, {**self.env, **env})

    def gpus(self) -> list[Found]:
        """The GPUs of the driver; StepSkipped without one."""
        if not (gpus := self.driver.get("gpus")):
            raise StepSkipped("there is no GPU")
        return list(gpus)

    def engine_with_gpu(self) -> str:
        """The first engine that can use the GPU; StepSkipped without one."""
        names = [name for name, state in self.engines.items() if state["gpus"]]
        if not names:
            raise StepSkipped("no engine can use the GPU")
        return names[0]

    def ask(self, *options: object, seconds: float = 60.0, **env: str) -> Finished:
        """Generate a few tokens from the model, as JSON."""
        asked = ("generate", _TEXT, "-m", self.model, "--raw", "--json", "--no-cache", "--no-serve")
        return self.ours(*asked, "--temperature", 0, "-n", 8, *options, seconds=seconds, **env)


# --- the machine -------------------------------------------------------------------------------


def machine(setting: Setting, seconds: float) -> Found:
    """Ask the driver and the engines. Raises StepFailed without a GPU."""
    report = setting.ours("doctor", "--json", seconds=seconds)
    # `doctor` exits with another code if its default model is not here.
    try:
        found = json.loads(report.stdout)
    except ValueError as error:
        raise StepFailed(f"doctor: {report.last_words()}") from error
    setting.driver, setting.engines = found["driver"], found["engines"]
    if setting.driver["problem"]:
        raise StepFailed(setting.driver["problem"])
    names = [
        f"{gpu['name']} ({'.'.join(map(str, gpu['compute_capability']))}, "
        f"{gpu['memory_total'] >> 20:,} MiB)"
        for gpu in setting.driver["gpus"]
    ]
    usable = [name for name, state in setting.engines.items() if state["gpus"]]
    version = ".".join(map(str, setting.driver["cuda_version"] or ()))
    note = f"{', '.join(names)}; driver for CUDA {version}; engines with a GPU now: {usable or '-'}"
    return {"note": note, "driver": setting.driver, "cores": found["cores"]}


def compiler(setting: Setting, seconds: float) -> Found:
    """Find a CUDA compiler and cuBLAS, or install them from the package index.

    The packages are of no use to an older driver or card.
    """
    gpus, version = setting.gpus(), setting.driver["cuda_version"]
    command = [sys.executable, "-c", _FIND_COMPILER]
    chosen = setting.shell.run(command, 60, setting.env)
    new_enough = version >= [13, 0] and all(gpu["compute_capability"] >= [7, 5] for gpu in gpus)
    if new_enough and (chosen.status or "no cuBLAS" in chosen.stdout):
        _pip(setting, "cuda-build", seconds)
        chosen = setting.shell.run(command, 60, setting.env)
    if chosen.status:
        raise StepFailed(chosen.last_words())
    if "no cuBLAS" in chosen.stdout:
        raise StepFailed(chosen.stdout.strip())
    return {"note": chosen.stdout.strip()}


def ctransformers_cuda(setting: Setting, seconds: float) -> Found:
    """Install the CUDA libraries of ctransformers from the package index, unless it has a GPU."""
    setting.gpus()
    if not _state(setting, "ctransformers")["gpus"]:
        _pip(setting, "cuda", seconds)
        machine(setting, 60)
    state = _state(setting, "ctransformers")
    if not state["gpus"]:
        raise StepFailed(f"ctransformers: {state['no_gpu']}")
    return {"note": "ctransformers can use the GPU"}


def _state(setting: Setting, engine: str) -> Found:
    none: Found = {"gpus": [], "no_gpu": None, "missing": "it is not there"}
    return dict(setting.engines.get(engine) or none)


def _pip(setting: Setting, extra: str, seconds: float) -> None:
    """Install the packages of an extra, without this project: it may be installed elsewhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    packages = project["optional-dependencies"][extra]
    setting.shell.run([*pip, "--no-compile", *packages], seconds)


def model(setting: Setting, seconds: float) -> Found:
    """Make a file with Mistral 7B's dimensions, which both engines read, unless one is named."""
    if setting.model:
        return {"note": f"{setting.model} was named"}
    name = "small.gguf" if setting.small else "mistral-7b-shape.Q4_K_M.gguf"
    path = setting.work / name
    if not path.exists():
        code = "import sys; from gpu.models import write; write(*sys.argv[1:])"
        kind = "small" if setting.small else "7b"
        done = setting.shell.run([sys.executable, "-c", code, kind, str(path)], seconds)
        if done.status:
            raise StepFailed(done.last_words())
    setting.model = path
    return {"note": f"{name}, {path.stat().st_size / 1e9:.1f} GB"}


def build(setting: Setting, seconds: float) -> Found:
    """Build llama.cpp with CUDA for this card; a build that took too long continues next time."""
    setting.gpus()
    work = setting.work / "build"
    if setting.source:
        unpack(setting.source, work)
    launcher = shutil.which("ccache")
    cached = [f"-DCMAKE_{each}_COMPILER_LAUNCHER={launcher}" for each in ("C", "CXX", "CUDA")]
    done = setting.ours(
        *("engines", "build", "--cuda", "--into", setting.native, "--work", work),
        *(("--sdist", setting.sdist) if setting.sdist else ()),
        *(("--", *cached) if launcher else ()),
        seconds=seconds,
    )
    if done.status:
        raise StepFailed(f"engines build: {done.last_words()}")
    machine(setting, 60)
    state = _state(setting, "native")
    if not state["gpus"]:
        raise StepFailed(f"the build has no GPU: {state['missing'] or state['no_gpu']}")
    return {"note": f"built, or continued, in {done.seconds:.0f} s"}


# --- speeds and memory -------------------------------------------------------------------------


def measure(engine: str, layers: int | str) -> Callable[[Setting, float], Found]:
    """A step that measures `engine` with `layers`, and its memory against the planner's estimate.

    It fails if other layers were used, or more memory than planned and the margin.
    """

    def step(setting: Setting, seconds: float) -> Found:
        setting.gpus()
        state = _state(setting, engine)
        if state.get("missing"):
            raise StepSkipped(f"{engine}: {state['missing']}")
        if layers and not state["gpus"]:
            raise StepSkipped(f"{engine}: {state['no_gpu']}")
        prompt, new = (128, 32) if setting.small else (512, 64)
        sizes = ("-p", prompt, "-n", new, "-r", 1, "--json", "-q")
        asked = ("bench", "-m", setting.model, "--engine", engine, "-ngl", layers)
        (speeds,) = setting.ours(*asked, *sizes, seconds=seconds).json()["benchmarks"]
        row = {
            "engine": engine,
            "asked": layers,
            "layers": speeds["gpu_layers"],
            "prompt": speeds["prompt_tokens_per_second"],
            "generated": speeds["generated_tokens_per_second"],
            "load": speeds["load_seconds"],
            **_memory_of(setting, engine, layers, speeds["gpu_layers"], seconds),
        }
        problems = _problems(row)
        note = f"{row['prompt']:,.0f} and {row['generated']:,.1f} tokens/s"
        if problems:
            raise Measured("; ".join(problems), row)
        return {"note": note, "rows": [row]}

    return step


class Measured(StepFailed):
    """A measurement that is not as it should be; its row is reported all the same."""

    def __init__(self, problem: str, row: Found) -> None:
        super().__init__(problem)
        self.data = {"rows": [row]}


def _memory_of(
    setting: Setting, engine: str, asked: int | str, layers: int, seconds: float
) -> Found:
    context = setting.context
    plan = [sys.executable, "-m", "gpu.memory", "plan", setting.model, engine, layers, context]
    planned = setting.shell.run(plan, 30, setting.env).json()["gpu"]
    with watching() as watched:
        options = ("--engine", engine, "-ngl", asked, "-c", context)
        setting.ask(*options, seconds=seconds).json()
    total = sum(gpu["memory_total"] for gpu in setting.driver["gpus"])
    margin = len(setting.driver["gpus"]) * _MARGIN + total // _MARGIN_SHARE
    used = sum(watched.used) if watched.used else None
    return {"context": context, "planned": planned, "used": used, "margin": margin}


def _problems(row: Found) -> list[str]:
    problems = []
    if row["asked"] == 0 and row["layers"]:
        problems.append(f"{row['layers']} layers on the GPU, and none were asked for")
    if row["asked"] != 0 and not row["layers"]:
        problems.append(f"no layers on the GPU, and {row['asked']} were asked for")
    if row["used"] is not None and row["used"] > row["planned"] + row["margin"]:
        beyond = (row["used"] - row["planned"]) >> 20
        problems.append(f"{beyond:,} MiB more than planned, and the margin is less")
    return problems


# --- behaviour ---------------------------------------------------------------------------------


def tests(setting: Setting, seconds: float) -> Found:
    """Run the tests that need a GPU."""
    setting.engine_with_gpu()
    summary = setting.work / "tests.xml"
    pytest = [sys.executable, "-m", "pytest", ROOT / "tests/engines/test_on_a_gpu.py"]
    done = setting.shell.run([*pytest, f"--junit-xml={summary}"], seconds, setting.env)
    if not summary.exists():
        raise StepFailed(done.last_words())
    (suite,) = ElementTree.parse(summary).getroot().iter("testsuite")
    summary.unlink()
    run, failed, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", 0))
    note = f"{run - failed - skipped} passed, {failed} failed, {skipped} skipped"
    if done.status or run == skipped:
        names = [case.get("name") for case in suite if case.find("failure") is not None]
        raise StepFailed(f"{note} {names or ''}".strip())
    return {"note": note}


def require_gpu(setting: Setting, seconds: float) -> Found:
    """`--require-gpu` runs on the GPU, and exits with 8 if the GPU is hidden."""
    engine = setting.engine_with_gpu()
    layers = setting.ask("--engine", engine, "--require-gpu", seconds=seconds).json()["gpu_layers"]
    if not layers:
        raise StepFailed("--require-gpu ran without a layer on the GPU")
    hidden = setting.ask(
        "--engine", engine, "--require-gpu", seconds=seconds, CUDA_VISIBLE_DEVICES="-1"
    )
    if hidden.status != 8:
        raise StepFailed(f"with the GPU hidden the exit code is {hidden.status}, not 8")
    return {"note": f"{layers} layers; exit code 8 with the GPU hidden"}


def short_memory(setting: Setting, seconds: float) -> Found:
    """With little free memory, `auto` takes fewer layers, and `all` falls back with a warning."""
    engine = setting.engine_with_gpu()
    needed = setting.model.stat().st_size if setting.model else 0
    leave = _SHORT if needed > 2 * _SHORT else needed // 2 + _SHORT // 4
    options = ("--engine", engine, "-c", setting.context)
    try:
        with filled(leave):
            auto = setting.ask(*options, seconds=seconds / 2).json()
            whole = setting.ask(*options, "-ngl", "all", seconds=seconds / 2)
    except FillFailed as error:
        raise StepFailed(f"the GPU's memory could not be taken: {error}") from error
    found = whole.json()
    used, forced = auto["gpu_layers"], found["gpu_layers"]
    total = setting.ask(*options, "-ngl", "all", seconds=seconds / 2).json()["gpu_layers"]
    if used >= total or forced >= total:
        raise StepFailed(f"auto took {used} and all took {forced} of {total} layers in {leave} B")
    if not found["warnings"]:
        raise StepFailed(f"{forced} of {total} layers without a warning")
    return {"note": f"{leave >> 20:,} MiB free: auto took {used} of {total} layers, all {forced}"}


def two_gpus(setting: Setting, seconds: float) -> Found:
    """Each of two GPUs alone, then a model in both."""
    if len(setting.gpus()) < 2:
        raise StepSkipped("this machine has one GPU")
    engine = setting.engine_with_gpu()
    options = ("--engine", engine, "-ngl", "all", "--require-gpu")
    seen = {devices: _used_with(setting, devices, options, seconds) for devices in ("0", "1")}
    both = _used_with(setting, "0,1", options, seconds)
    alone = [[used > _MARGIN // 4 for used in watched.used[:2]] for watched in seen.values()]
    if alone != [[True, False], [False, True]]:
        raise StepFailed(f"CUDA_VISIBLE_DEVICES=0 and =1 used {[w.used for w in seen.values()]} B")
    if not all(used > _MARGIN // 4 for used in both.used[:2]):
        raise StepFailed(f"a model for both GPUs used {both.used} B")
    return {"note": f"split over both: {[used >> 20 for used in both.used]} MiB"}


def _used_with(setting: Setting, devices: str, options: tuple[object, ...], s: float) -> Watched:
    with watching() as watched:
        setting.ask(*options, seconds=s / 3, CUDA_VISIBLE_DEVICES=devices).json()
    return watched
