"""Check this program on a machine with an NVIDIA GPU; see scripts/gpu_check."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from gpu import steps
from gpu.commands import Shell, StepFailed, StepSkipped
from gpu.pack import pack
from gpu.report import FAILED, NOT_ASKED, NOT_RUN, PASSED, SKIPPED, Report, StepResult
from gpu.steps import ROOT, Found, Setting

Step = Callable[[Setting, float], Found]
PLAN: dict[str, tuple[float, Step]] = {
    "machine": (60, steps.machine),
    "ctransformers for CUDA": (90, steps.ctransformers_cuda),
    "model": (120, steps.model),
    "ctransformers, all layers": (60, steps.measure("ctransformers", "all")),
    "compiler": (90, steps.compiler),
    "build": (330, steps.build),
    "native, all layers": (60, steps.measure("native", "all")),
    "--require-gpu": (60, steps.require_gpu),
    "short memory": (90, steps.short_memory),
    "tests": (120, steps.tests),
    "native, 50 layers": (60, steps.measure("native", 50)),
    "native, 16 layers": (60, steps.measure("native", 16)),
    "native, 0 layers": (90, steps.measure("native", 0)),
    "ctransformers, 50 layers": (60, steps.measure("ctransformers", 50)),
    "ctransformers, 16 layers": (60, steps.measure("ctransformers", 16)),
    "ctransformers, 0 layers": (90, steps.measure("ctransformers", 0)),
    "llama.cpp wheel, all layers": (60, steps.measure("llama.cpp", "all")),
    "two GPUs": (90, steps.two_gpus),
}
"""The steps with the seconds that each may take, in the order of their value: time can run out."""

_ALWAYS = ("machine", "model")  # the others need what these find
_LEAST_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 if every step passed."""
    options = _parse(arguments)
    if options.pack:
        pack(options.pack, options.sdist)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    late = max(0.0, time.time() - options.started) if options.started else 0.0
    shell = Shell(options.output / "check.log", time.monotonic() + options.minutes * 60 - late)
    program = [sys.executable, "-m", "mistral_cli"]
    work = options.work or options.output
    setting = Setting(
        shell, work.absolute(), program, options.model, options.small, options.sdist, options.source
    )
    report = run(setting, options.output, options.only, fresh=options.fresh)
    print((options.output / "check.md").read_text("utf-8"))
    return 0 if report.passed else 1


def run(setting: Setting, output: Path, only: Sequence[str] = (), *, fresh: bool = False) -> Report:
    """Run the steps, and write the report after each.

    A step that passed in an earlier run of the same version on the same machine is not run again.
    """
    about = _about()
    earlier = None if fresh else Report.read(output)
    done = earlier.steps if earlier and _same(earlier.about, about) else {}
    left = {name: NOT_ASKED if only and name not in only else NOT_RUN for name in PLAN}
    kept = {name: step for name, step in done.items() if step.outcome not in (NOT_RUN, NOT_ASKED)}
    for result in kept.values():
        result.from_earlier_run = True
    report = Report(about, {name: kept.get(name, StepResult(left[name])) for name in PLAN})
    for name, (seconds, step) in PLAN.items():
        passed = report.steps[name].outcome == PASSED
        if name in _ALWAYS or (not passed and (not only or name in only)):
            report.steps[name] = _run_step(name, step, seconds, setting)
            report.write(output)
    return report


def _run_step(name: str, step: Step, seconds: float, setting: Setting) -> StepResult:
    left = setting.shell.left()
    if left < _LEAST_SECONDS:
        return StepResult(NOT_RUN, note="no time was left")
    setting.shell.say(f"\n== {name} ({left:.0f} s left)")
    print(f"{name} ... ", end="", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        found = step(setting, min(seconds, left))
        result = StepResult(PASSED, note=str(found.pop("note", "")), data=found)
    except StepSkipped as reason:
        result = StepResult(SKIPPED, note=str(reason))
    except StepFailed as problem:
        result = StepResult(FAILED, note=str(problem), data=getattr(problem, "data", {}))
    except Exception as error:  # a mistake in one step must not cost the results of the others
        result = StepResult(FAILED, note=f"{type(error).__name__}: {error}")
    result.seconds = time.monotonic() - started
    setting.shell.say(f"== {name}: {result.outcome} {result.note}")
    print(f"{result.outcome}, {result.seconds:.0f} s: {result.note}", file=sys.stderr, flush=True)
    return result


def _about() -> dict[str, str]:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        version = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        version = ""
    return {
        "version": version or "unknown",
        "machine": f"{platform.system()} {platform.machine()}, {platform.node()}",
        "Python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    return all(one.get(key) == other[key] for key in ("version", "machine", "Python"))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/gpu_check", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu-check")
    parser.add_argument("--work", type=Path, help="for the build and the model (default: --output)")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all (default: 8)")
    parser.add_argument("--model", type=Path, help="a file for both engines (default: make one)")
    parser.add_argument("--small", action="store_true", help="make a small model, as a quick check")
    parser.add_argument("--only", choices=PLAN, action="append", default=[], help="repeatable")
    parser.add_argument("--sdist", type=Path, help="llama-cpp-python's, which is here already")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="only write a file for --source")
    parser.add_argument("--source", type=Path, metavar="FILE", help="build from a file of --pack")
    parser.add_argument("--fresh", action="store_true", help="run what passed earlier again")
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
