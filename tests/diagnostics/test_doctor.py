"""`doctor`, on this machine and on simulated machines of every kind."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.nvidia_driver import GIB, NO_DEVICE, NOT_READY, T4, Card, Machine, put
from support.program import Run
from support.scripted_server import ScriptedServer
from support.terminals import make_terminal
from synthetic.models import write_mistral

from mistral_cli.diagnostics import doctor, fixes
from mistral_cli.diagnostics.doctor import Diagnosis, diagnose
from mistral_cli.diagnostics.doctor_report import print_diagnosis
from mistral_cli.engines.ctransformers.limits import RUNTIME_COMMAND
from mistral_cli.engines.hardware.probe import probe_here
from mistral_cli.engines.registry import backend
from mistral_cli.errors import ExitCode
from mistral_cli.models.sources import PyPIWheel
from mistral_cli.system.config import Config

LLAMA_CPP = backend("llama.cpp")


MEMORY_KEYS = [
    "weights_ram",
    "weights_gpu",
    "kv_ram",
    "kv_gpu",
    "compute",
    "engine",
    "dequantized",
    "ram",
    "gpu",
]


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a type that ctransformers computes on a GPU."""
    path = tmp_path_factory.mktemp("models") / "q8.gguf"
    return write_mistral(path, vocabulary=512, quantization="Q8_0")


# --- doctor, as a process ----------------------------------------------------------------------


def test_a_model_can_run_here(run: Run, mistral: Path) -> None:
    result = run("doctor", "-m", mistral)
    assert result.status == 0, result.stderr
    assert f"{mistral} can run here" in result.stdout
    assert "xllamacpp 20" in result.stdout


def test_the_json_of_doctor(run: Run, mistral: Path) -> None:
    result = run("doctor", "--json", MISTRAL_CLI_MODEL=str(mistral))
    found = json.loads(result.stdout)
    assert (found["schema_version"], found["exit_code"], found["runs"]) == (2, 0, True)
    assert found["model"]["path"] == str(mistral)
    assert found["would_use"]["engine"] in found["engines"]
    memory = found["would_use"]["memory"]
    assert memory["ram"] > memory["kv_ram"]
    assert memory["kv_ram"] + memory["kv_gpu"] > 0
    assert set(found["engines"]) == {"llama.cpp", "ctransformers"}


def test_the_json_of_doctor_has_these_keys(run: Run, mistral: Path) -> None:
    found = json.loads(run("doctor", "--require-gpu", "-m", mistral, "--json").stdout)
    assert list(found) == [
        "schema_version",
        "exit_code",
        "runs",
        "platform",
        "python",
        "packages",
        "memory_available",
        "cores",
        "cores_free",
        "machine_build",
        "driver",
        "engines",
        "model",
        "servers",
        "would_use",
        "problems",
    ]
    assert list(found["machine_build"]) == ["build", "problem"]
    assert list(found["driver"]) == ["problem", "obstacle", "cuda_version", "gpus"]
    for engine in found["engines"].values():
        assert list(engine) == ["package", "missing", "no_gpu", "gpus", "version"]
    assert list(found["model"]) == ["reference", "source", "path", "size", "quantization"]
    if found["would_use"]:  # not if --require-gpu fails
        assert list(found["would_use"]) == [
            "engine",
            "reason",
            "layers",
            "gpu_layers",
            "gpu_reason",
            "gpus",
            "context_length",
            "memory",
        ]
        assert list(found["would_use"]["memory"]) == MEMORY_KEYS
    for problem in found["problems"]:
        assert list(problem) == ["what", "fix", "exit_code"]


def test_the_json_of_a_gpu(monkeypatch: pytest.MonkeyPatch, quantized: Path) -> None:
    written = io.StringIO()
    terminal = make_terminal(stdout=written, stderr=written)
    print_diagnosis(terminal, on(monkeypatch, Machine(), quantized), as_json=True)
    found = json.loads(written.getvalue())
    (gpu,) = found["driver"]["gpus"]
    assert gpu == {
        "name": "Tesla T4",
        "memory_total": T4.total,
        "memory_free": T4.free,
        "compute_capability": [7, 5],
        "mig": False,
    }
    (gpu,) = found["would_use"]["gpus"]
    assert list(gpu) == ["name", "memory_total", "memory_free"]
    assert found["engines"]["ctransformers"]["gpus"] == [gpu]


@pytest.mark.parametrize(
    ("reference", "env", "status"),
    [
        ("mistral", {}, 0),
        ("mistral", {"HF_HUB_OFFLINE": "1"}, 3),
        ("/no/such/file.gguf", {}, 3),
        ("nonsense", {}, 3),
        ("a:b:c", {}, 2),
    ],
)
def test_the_exit_code_is_that_of_the_problem(
    run: Run, reference: str, env: dict[str, str], status: int
) -> None:
    result = run("doctor", "-m", reference, "--json", **env)
    assert result.status == status, result.stdout
    assert json.loads(result.stdout)["exit_code"] == status


def test_a_damaged_file_cannot_run(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    result = run("doctor", "-m", path)
    assert result.status == 4
    assert "cannot run here" in result.stdout


# --- doctor, on other machines -----------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_other_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fixes, "_ROCM_DRIVER", tmp_path / "kfd")
    monkeypatch.setattr(fixes, "_GRAPHICS", tmp_path / "renderD128")
    monkeypatch.setattr(LLAMA_CPP, "no_gpu", lambda: "no GPU support")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


def on(
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine | None,
    model: Path | str = "mistral",
    *,
    require_gpu: bool = False,
    engine: str = "auto",
    memory: int | None = 64 * GIB,
) -> Diagnosis:
    """The diagnosis on `machine` with `memory` bytes available."""
    put(monkeypatch, machine)
    hardware = replace(probe_here(), memory_available=memory)
    return diagnose(str(model), Config(engine=engine), hardware, require_gpu=require_gpu)


def fixes_of(diagnosis: Diagnosis) -> str:
    return "\n".join(problem.fix for problem in diagnosis.problems)


def test_ctransformers_uses_a_t4(monkeypatch: pytest.MonkeyPatch, quantized: Path) -> None:
    diagnosis = on(monkeypatch, Machine(), quantized, require_gpu=True)
    assert diagnosis.projection
    assert (diagnosis.projection.engine, diagnosis.projection.gpu_layers) == (
        "ctransformers",
        diagnosis.projection.layers,
    )
    assert (diagnosis.problems, diagnosis.exit_code) == ((), 0)


def test_a_model_that_is_not_downloaded_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = on(monkeypatch, Machine())
    assert diagnosis.projection
    assert (diagnosis.projection.engine, diagnosis.projection.gpu_layers, diagnosis.exit_code) == (
        "ctransformers",
        33,
        0,
    )
    assert fixes_of(diagnosis) == "mistral-cli models pull mistral"
    for required in (False, True):
        unknown = on(monkeypatch, Machine(), "owner/repo:Q8_0", require_gpu=required)
        assert (unknown.projection, unknown.exit_code) == (None, 0)
    without = on(monkeypatch, None, "owner/repo:Q8_0", require_gpu=True)
    assert without.exit_code == ExitCode.GPU_REQUIRED


def test_the_configured_engine_is_the_only_one_considered(
    monkeypatch: pytest.MonkeyPatch, mistral: Path
) -> None:
    for model in (mistral, "mistral"):
        diagnosis = on(monkeypatch, Machine(version=12080), model, engine="llama.cpp")
        assert diagnosis.projection
        assert (diagnosis.projection.engine, diagnosis.projection.gpu_layers) == ("llama.cpp", 0)
        assert "whl/cu128" in fixes_of(diagnosis)
        assert "ctransformers" not in fixes_of(diagnosis)


def test_a_model_that_ctransformers_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the GPU but cannot help: llama.cpp runs this model, downloaded or not."""
    monkeypatch.setattr(PyPIWheel, "locate", lambda self: None)
    diagnosis = on(monkeypatch, Machine(version=12080), "smollm2")
    assert diagnosis.projection
    assert (diagnosis.projection.engine, diagnosis.projection.gpu_layers, diagnosis.exit_code) == (
        "llama.cpp",
        0,
        0,
    )
    assert "whl/cu128" in fixes_of(diagnosis)
    assert "models recommend" not in fixes_of(diagnosis)
    assert "ctransformers[cuda]" not in fixes_of(diagnosis)


@pytest.mark.parametrize(
    ("machine", "fix"),
    [
        (Machine(runtime=False, version=12080), f"whl/cu128 or {RUNTIME_COMMAND}"),
        (Machine(runtime=False, version=13000), "whl/cu128 or"),
        (Machine(runtime=False, version=13020), "whl/cu132 or"),
        (Machine(runtime=False, version=12020), RUNTIME_COMMAND),
        (Machine(cards=(Card("P4", (6, 1)),), runtime=False, version=13020), "whl/cu128 or"),
        (Machine(cards=(Card("K2200", (5, 0)),), version=12080), "whl/cu128"),
        (Machine(cards=(Card("K2200", (5, 0)),), version=12020), "driver 570"),
        (Machine(version=11080), "Install NVIDIA driver 525 or newer."),
        (Machine(status=999, physical=0), "Run nvidia-smi for details"),
        (Machine(status=NOT_READY), "Run nvidia-smi for details"),
        (Machine(cards=(), status=NO_DEVICE, physical=0), "--gpus all"),
        (Machine(cards=(), status=NO_DEVICE, mig=True), "a slice that nvidia-smi -L lists"),
    ],
)
def test_the_fix_for_a_gpu_that_is_not_used(
    monkeypatch: pytest.MonkeyPatch, mistral: Path, machine: Machine, fix: str
) -> None:
    diagnosis = on(monkeypatch, machine, mistral)
    assert fix in fixes_of(diagnosis)
    assert diagnosis.exit_code == 0  # the CPU can run the model
    assert on(monkeypatch, machine, mistral, require_gpu=True).exit_code == ExitCode.GPU_REQUIRED


def test_no_package_is_advised_for_an_old_gpu(
    monkeypatch: pytest.MonkeyPatch, mistral: Path
) -> None:
    old = Machine(cards=(Card("K2200", (5, 0)),), version=12080, runtime=False)
    assert "ctransformers" not in fixes_of(on(monkeypatch, old, mistral))
    older = Machine(cards=(Card("K80", (3, 7)),), version=11040)
    assert fixes_of(on(monkeypatch, older, mistral)) == ""


def test_a_build_for_cuda_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch, mistral: Path
) -> None:
    monkeypatch.setattr(LLAMA_CPP, "missing", lambda: "libcuda.so.1: cannot open")
    assert fixes_of(on(monkeypatch, None, mistral)) == "pip install --force-reinstall xllamacpp"
    wheel = fixes_of(on(monkeypatch, Machine(version=12080), mistral))
    assert wheel.endswith("whl/cu128")


def test_each_reason_is_printed_once(monkeypatch: pytest.MonkeyPatch, mistral: Path) -> None:
    written = io.StringIO()
    terminal = make_terminal(stdout=written, stderr=written)
    print_diagnosis(terminal, on(monkeypatch, None, mistral), as_json=False)
    assert written.getvalue().count("no NVIDIA driver") == 1
    assert written.getvalue().count("no GPU support") == 1


def test_a_machine_without_a_gpu_needs_no_fix(
    monkeypatch: pytest.MonkeyPatch, mistral: Path
) -> None:
    assert on(monkeypatch, None, mistral).problems == ()
    assert on(monkeypatch, None, mistral, require_gpu=True).exit_code == ExitCode.GPU_REQUIRED


@pytest.mark.parametrize(("device", "wheels"), [("_ROCM_DRIVER", "rocm"), ("_GRAPHICS", "vulkan")])
def test_gpus_of_other_vendors(
    monkeypatch: pytest.MonkeyPatch, mistral: Path, device: str, wheels: str
) -> None:
    getattr(fixes, device).touch()
    assert f"xllamacpp/whl/{wheels}" in fixes_of(on(monkeypatch, None, mistral))


def test_a_gpu_that_is_too_small(monkeypatch: pytest.MonkeyPatch, quantized: Path) -> None:
    full = Machine(cards=(replace(T4, free=100 * 2**20),))
    diagnosis = on(monkeypatch, full, quantized)
    assert diagnosis.projection
    assert diagnosis.projection.gpu_layers == 0
    assert "models recommend" in fixes_of(diagnosis)
    assert on(monkeypatch, full, quantized, require_gpu=True).exit_code == ExitCode.GPU_REQUIRED


def test_too_little_memory_or_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    full = on(monkeypatch, None, memory=GIB)
    assert full.exit_code == ExitCode.CONTEXT_EXCEEDED
    assert "GiB more than is available" in full.problems[-1].message
    assert on(monkeypatch, Machine(), memory=GIB).exit_code == 0  # the weights are on the GPU
    assert on(monkeypatch, None, memory=None).exit_code == 0
    nothing = {
        name: replace(state, missing="not installed", gpus=())
        for name, state in probe_here().engines.items()
    }
    diagnosis = diagnose(
        "mistral", Config(), replace(probe_here(), engines=nothing), require_gpu=False
    )
    assert diagnosis.exit_code == ExitCode.MODEL_UNUSABLE


def test_a_disk_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10**9

    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage)
    diagnosis = on(monkeypatch, None)
    assert diagnosis.exit_code == ExitCode.MODEL_NOT_AVAILABLE
    assert "1.00 GB free in" in diagnosis.problems[0].message


def test_a_dry_run_explains_the_gpu_layers(run: Run, tmp_path: Path) -> None:
    model = write_mistral(tmp_path / "m.gguf")
    plan = json.loads(run("generate", "-m", model, "hi", "--dry-run", "--json").stdout)
    assert ("fit:" if plan["gpu_layers"] else "GPU") in plan["gpu_reason"]
    result = run("generate", "-m", model, "hi", "--dry-run", "-ngl", "0")
    assert "0 layers on the GPU (--gpu-layers is 0)" in result.stderr


def test_the_servers_that_would_answer(run: Run) -> None:
    with ScriptedServer("vllm").running() as server, ScriptedServer().running() as gone:
        result = run("doctor", "--server", server.url, "--json")
        text = run("doctor", MISTRAL_CLI_SERVERS=server.url)
    fields = json.loads(result.stdout)
    assert result.status == 0, result.stderr
    assert fields["servers"] == [
        {
            "url": server.url,
            "problem": None,
            "kind": "vllm",
            "version": "0.99",
            "model": "a-model",
            "context_length": 4096,
            "slots": None,
            "prompted_as": "tokens",
        }
    ]
    assert "the servers answer" in text.stdout
    missing = run("doctor", "--server", gone.url)
    assert missing.status == 9
    assert "cannot be reached" in missing.stdout
    secret = run("doctor", "--server", "http://user:s3cret@[::1", "--json")
    assert secret.status == 2
    assert "s3cret" not in secret.stdout + secret.stderr


def test_busy_cores_are_a_note_that_says_how_many_threads_a_call_takes() -> None:
    assert doctor._busy_cores(None, 4) == doctor._busy_cores(3.8, 4) == []
    [note] = doctor._busy_cores(1.2, 4)
    assert (note.message, note.exit_code) == (
        "other programs use 2.8 of 4 cores: a call starts 1 thread", 0,
    )  # fmt: skip
