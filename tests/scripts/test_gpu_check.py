"""The check for machines with a GPU, with a stub of the driver and a scripted program."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpu import check, steps
from gpu.commands import Shell, StepFailed, StepSkipped
from gpu.memory import FillFailed, Watched, filled, watching
from gpu.pack import unpack
from gpu.report import FAILED, NOT_ASKED, NOT_RUN, PASSED, SKIPPED, Report, StepResult
from gpu.steps import Setting

from mistral_cli.engines.llama_cpp import build

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tests" / "support" / "stub_driver"
PROGRAM = [sys.executable, str(ROOT / "tests" / "support" / "gpu_program.py")]
MIB = 2**20

Prepare = Callable[..., Setting]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("there is no C compiler, or this is not Linux")
    folder = tmp_path_factory.mktemp("driver")
    for source, library in (("cuda.c", "libcuda.so.1"), ("nvml.c", "libnvidia-ml.so.1")):
        command = [compiler, "-shared", "-fPIC", "-o", folder / library, SOURCES / source]
        subprocess.run(command, check=True)
    return folder


@pytest.fixture
def prepare(
    driver: Path, mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Prepare:
    """A setting on a machine with a T4; the arguments are the script of the program."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'scripts'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("STUB_FILLED", str(tmp_path / "filled"))
    monkeypatch.setenv("STUB_USED", str(tmp_path / "used"))
    compiler = tmp_path / "nvcc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CUDACXX", str(compiler))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    plan = {name: step for name, step in check.PLAN.items() if name != "tests"}
    monkeypatch.setattr(check, "PLAN", plan)

    def prepare(**script: object) -> Setting:
        monkeypatch.setenv("SCRIPT", json.dumps(script))
        shell = Shell(tmp_path / "check.log", time.monotonic() + 300)
        return Setting(shell, tmp_path, PROGRAM, mistral, small=True)

    return prepare


def outcomes(report: Report) -> dict[str, str]:
    return {name: step.outcome for name, step in report.steps.items()}


def test_every_step_on_a_machine_with_one_card(prepare: Prepare, tmp_path: Path) -> None:
    report = check.run(prepare(used=300 * MIB), tmp_path)
    notes = {name: step.note for name, step in report.steps.items()}
    skipped = {name for name, outcome in outcomes(report).items() if outcome == SKIPPED}
    assert skipped == {"two GPUs", "llama.cpp wheel, all layers"}
    assert report.passed, notes
    assert "Tesla T4 (7.5, 15,102 MiB); driver for CUDA 12.4" in notes["machine"]
    assert notes["--require-gpu"] == "33 layers; exit code 8 with the GPU hidden"
    assert "auto took 5 of 33 layers, all 5" in notes["short memory"]
    written = json.loads((tmp_path / "check.json").read_text())
    assert written["passed"] is True
    (row,) = written["steps"]["native, 50 layers"]["data"]["rows"]
    assert (row["layers"], row["prompt"], row["used"]) == (33, 1033.0, 300 * MIB)
    assert 0 < row["planned"] < 100 * MIB
    page = (tmp_path / "check.md").read_text()
    assert "All steps passed." in page
    assert "| native | 50 | 33 | 1,033 | 50 | 1.5 |" in page
    assert "| ctransformers | 0 | 0 | 1,000 | 50 | 1.5 |" in page
    assert "engines build --cuda" in (tmp_path / "check.log").read_text()


def test_a_failed_step_stops_no_other_and_the_next_run_continues(
    prepare: Prepare, tmp_path: Path
) -> None:
    report = check.run(prepare(fails=["engines"]), tmp_path)
    assert not report.passed
    assert report.steps["build"].note == "engines build: error: scripted to fail"
    found = outcomes(report)
    assert (found["build"], found["native, all layers"]) == (FAILED, SKIPPED)
    assert found["ctransformers, 16 layers"] == PASSED
    assert "**Not all steps passed.**" in (tmp_path / "check.md").read_text()

    again = check.run(prepare(), tmp_path)
    assert again.passed
    assert not again.steps["build"].from_earlier_run
    assert again.steps["ctransformers, 16 layers"].from_earlier_run
    assert (
        "| ctransformers, 16 layers | passed (an earlier run) |"
        in (tmp_path / "check.md").read_text()
    )
    fresh = check.run(prepare(fails=["bench"]), tmp_path, fresh=True)
    assert outcomes(fresh)["ctransformers, 16 layers"] == FAILED


def test_more_memory_than_planned_fails_and_is_in_the_table(
    prepare: Prepare, tmp_path: Path
) -> None:
    setting = prepare(used=4000 * MIB)
    report = check.run(setting, tmp_path, ["ctransformers, all layers"])
    step = report.steps["ctransformers, all layers"]
    assert step.outcome == FAILED
    assert "MiB more than planned" in step.note
    assert step.data["rows"][0]["used"] == 4000 * MIB
    assert outcomes(report)["build"] == NOT_ASKED
    assert "| ctransformers | 33 | 512 |" in (tmp_path / "check.md").read_text()
    assert check.run(setting, tmp_path, ["--require-gpu"], fresh=True).passed


def test_a_step_that_hangs_is_ended_and_without_time_the_rest_is_not_run(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = prepare(hangs="engines")
    monkeypatch.setitem(check.PLAN, "build", (1.0, steps.build))
    report = check.run(setting, tmp_path, ["build"])
    assert report.steps["build"].outcome == FAILED
    assert "took more than 1 s" in report.steps["build"].note
    setting.shell.deadline = time.monotonic()
    late = check.run(setting, tmp_path)
    assert outcomes(late)["ctransformers, all layers"] == NOT_RUN
    assert late.steps["build"].note == "no time was left"
    assert not late.passed


def test_without_a_gpu_the_check_fails_and_says_so(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = prepare()
    setting.program = [sys.executable, "-m", "mistral_cli"]
    monkeypatch.delenv("LD_LIBRARY_PATH")
    monkeypatch.setattr(Setting, "env", {"CUDA_VISIBLE_DEVICES": None, "MISTRAL_CLI_NATIVE": "/-"})
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has a GPU")
    report = check.run(setting, tmp_path)
    assert report.steps["machine"].outcome == FAILED
    assert set(outcomes(report).values()) == {FAILED, PASSED, SKIPPED}
    assert [name for name, outcome in outcomes(report).items() if outcome == PASSED] == ["model"]


def test_a_mistake_in_a_step_is_a_failure_of_that_step(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(setting: Setting, seconds: float) -> steps.Found:
        return {"note": 1 / 0}

    monkeypatch.setitem(check.PLAN, "compiler", (1.0, wrong))
    report = check.run(prepare(), tmp_path, ["compiler"])
    assert report.steps["compiler"].note.startswith("ZeroDivisionError")


def test_the_gpu_tests_count_and_none_is_a_failure(
    tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = prepare()
    setting.engines = {"native": {"gpus": [{}]}}
    monkeypatch.setattr(steps, "ROOT", tmp_path)
    file = tmp_path / "tests" / "engines" / "test_on_a_gpu.py"
    file.parent.mkdir(parents=True)
    skip = "import pytest\n@pytest.mark.skip\ndef test_c(): pass\n"
    file.write_text("def test_a(): pass\n" + skip)
    assert steps.tests(setting, 60)["note"] == "1 passed, 0 failed, 1 skipped"
    for text, problem in (
        (skip, "0 passed, 0 failed, 1 skipped"),
        ("def test_b(): assert 0\n", r"0 passed, 1 failed, 0 skipped \['test_b'\]"),
    ):
        file.write_text(text)
        with pytest.raises(StepFailed, match=problem):
            steps.tests(setting, 60)


def test_two_gpus_are_used_alone_and_together(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = prepare()
    setting.engines = {"native": {"gpus": [{}, {}]}}
    setting.driver = {"gpus": [{}]}
    with pytest.raises(StepSkipped, match="one GPU"):
        steps.two_gpus(setting, 60)
    setting.driver = {"gpus": [{}, {}]}

    def put(*readings: list[int]) -> None:
        left = iter(readings)

        @contextlib.contextmanager
        def watching() -> Iterator[Watched]:
            watched = Watched()
            watched.before, watched.fewest = [9000 * MIB] * 2, next(left)
            yield watched

        monkeypatch.setattr(steps, "watching", watching)

    first, second, both = ([4000, 9000], [9000, 4000], [6000, 6000])
    put(*([each * MIB for each in reading] for reading in (first, second, both)))
    assert steps.two_gpus(setting, 60)["note"] == "split over both: [3000, 3000] MiB"
    put(*([each * MIB for each in reading] for reading in (first, first, both)))
    with pytest.raises(StepFailed, match="=0 and =1 used"):
        steps.two_gpus(setting, 60)


def test_memory_is_taken_and_watched(prepare: Prepare, tmp_path: Path) -> None:
    prepare()
    with filled(20 * MIB):
        assert int((tmp_path / "filled").read_text()) == 15_720_000_000 - 20 * MIB
    assert not (tmp_path / "filled").exists()
    with watching() as watched:
        (tmp_path / "used").write_text(str(7 * MIB))
        time.sleep(0.3)
    assert watched.used == [7 * MIB]


def test_memory_that_cannot_be_taken_says_why(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    monkeypatch.delenv("STUB_FILLED")
    with pytest.raises(FillFailed, match="cuMemAlloc failed with 2"), filled(0):
        pass


def test_a_damaged_report_is_not_continued(tmp_path: Path) -> None:
    Report({}, {"machine": StepResult(PASSED)}).write(tmp_path)
    assert Report.read(tmp_path)
    for text in ("", "{}", "[]", '{"about": {}, "steps": {"machine": {"x": 1}}}'):
        (tmp_path / "check.json").write_text(text)
        assert Report.read(tmp_path) is None


def test_a_packed_source_is_small_and_a_build_continues_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama = tmp_path / "top" / "vendor" / "llama.cpp"
    for name in ("ggml/CMakeLists.txt", "ggml/a.gguf", "models/b.txt", "tools/models/c.txt"):
        (llama / name).parent.mkdir(parents=True, exist_ok=True)
        (llama / name).write_text(name)
    (tmp_path / "top" / "llama_cpp.py").touch()
    with tarfile.open(tmp_path / "sdist.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "top", "top")
    monkeypatch.setattr(build, "_checked", lambda sdist: sdist)
    monkeypatch.setattr(build.patches, "PATCHES", ())
    file, work = tmp_path / "source.tar.xz", tmp_path / "work"
    assert (
        check.main(
            [
                "--output",
                str(tmp_path),
                "--pack",
                str(file),
                "--sdist",
                str(tmp_path / "sdist.tar.gz"),
            ]
        )
        == 0
    )
    unpack(file, work)
    unpack(tmp_path / "none", work)  # it is there already
    found = {str(path.relative_to(work)) for path in work.rglob("*") if path.is_file()}
    source = "source/top/vendor/llama.cpp"
    assert found == {
        "source.sha256",
        f"{source}/ggml/CMakeLists.txt",
        f"{source}/tools/models/c.txt",
    }
    monkeypatch.setattr(build, "_download", lambda *_: pytest.fail("it was downloaded again"))
    assert build._source(work, build.BuildOptions(1), print) == work / source
    with pytest.raises(StepFailed, match="cannot be unpacked"):
        unpack(tmp_path / "none", tmp_path / "other")


def test_the_script_goes_on_with_another_python_if_nothing_can_be_installed(
    tmp_path: Path,
) -> None:
    shutil.copytree(ROOT / "scripts" / "gpu", tmp_path / "scripts" / "gpu")
    shutil.copy(ROOT / "scripts" / "gpu_check", tmp_path / "scripts")
    (tmp_path / "scripts" / "install").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "scripts" / "install").chmod(0o755)
    done = subprocess.run(
        [tmp_path / "scripts" / "gpu_check", "--help"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--minutes" in done.stdout
    assert "scripts/install failed; going on with" in done.stderr
