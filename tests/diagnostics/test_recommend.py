"""`models recommend`, on this machine and on machines of other sizes."""

from __future__ import annotations

import io
import json

import pytest
from support.nvidia_driver import GIB
from support.program import Run
from support.terminals import make_terminal

from mistral_cli.diagnostics import recommend
from mistral_cli.engines.hardware import cuda
from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.hardware.probe import EngineState, HardwareReport
from mistral_cli.engines.registry import backend

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


def hardware(
    memory: float, gpus: tuple[float, ...] = (), *, cores: int = 8, engine: str = "llama.cpp"
) -> HardwareReport:
    """A machine with this much memory, and GPUs that `engine` can use; sizes are in GiB."""
    cards = tuple(Gpu("GPU", int(gib * GIB), int(gib * GIB)) for gib in gpus)
    engines = {engine: EngineState("package", None, None, cards)}
    return HardwareReport(
        engines, cuda.no_driver(), memory_available=int(memory * GIB), cores=cores
    )


def best(memory: float, *gpus: float, cores: int = 8) -> recommend.Fit:
    return recommend.recommend(hardware(memory, gpus, cores=cores))[0]


@pytest.mark.parametrize(
    ("memory", "gpus", "reference", "quantization"),
    [
        (32, (), "mistral-7b-v0.3", "Q4_K_M"),
        (4.3, (), ":Q3_K_M", "Q3_K_M"),
        (3.3, (), ":Q2_K", "Q2_K"),
        (1, (), "smollm2", "Q4_1"),
        (16, (15,), ":Q8_0", "Q8_0"),
        (16, (8,), ":Q6_K", "Q6_K"),
        (16, (6,), "mistral-7b-v0.3", "Q4_K_M"),
        (16, (2,), "mistral-7b-v0.3", "Q4_K_M"),
    ],
)
def test_the_best_model_for_a_machine(
    memory: float, gpus: tuple[float, ...], reference: str, quantization: str
) -> None:
    fit = best(memory, *gpus)
    assert fit.entry.reference.endswith(reference)
    assert fit.entry.quantization == quantization
    assert not fit.shortfall


def test_if_nothing_fits_the_smallest_shortfall_is_first() -> None:
    fits = recommend.recommend(hardware(1000 / GIB, cores=2))
    assert [fit.shortfall for fit in fits] == sorted(fit.shortfall for fit in fits)
    assert fits[0].entry.reference == "smollm2"
    assert fits[0].shortfall > 0


def test_few_cores_are_called_slow() -> None:
    assert best(32, cores=2).note.startswith("slow: 4.4 GB to read for each token, 2 cores")
    assert best(32, cores=8).note == ""
    assert best(32, 15, cores=2).note == ""


def test_the_json_of_recommend_has_these_keys(run: Run) -> None:
    found = json.loads(run("models", "recommend", "--json").stdout)
    assert list(found) == ["schema_version", "context_length", "machine", "models"]
    assert list(found["machine"]) == ["memory_available", "gpus", "cores"]
    for row in found["models"]:
        assert list(row) == [
            "model",
            "quantization",
            "size",
            "fits",
            "lacking",
            "layers",
            "gpu_layers",
            "memory",
            "note",
        ]
        assert list(row["memory"]) == MEMORY_KEYS


def test_recommend_prints_a_gpu() -> None:
    machine, written = hardware(32, (15,)), io.StringIO()
    fits = recommend.recommend(machine)
    recommend.print_recommendations(make_terminal(stdout=written), fits, machine, as_json=True)
    (gpu,) = json.loads(written.getvalue())["machine"]["gpus"]
    assert list(gpu) == ["name", "memory_total", "memory_free", "memory_usable"]


def test_recommend_shows_its_arithmetic(run: Run) -> None:
    found = json.loads(run("models", "recommend", "--json").stdout)
    for row in found["models"]:
        memory = row["memory"]
        parts = ("weights_ram", "kv_ram", "compute", "engine")
        assert memory["ram"] == sum(memory[part] for part in parts)
        assert row["lacking"] == max(0, memory["ram"] - found["machine"]["memory_available"])
    lines = run("models", "recommend").stdout.splitlines()
    assert len(lines) == len(found["models"])
    for line, row in zip(lines, found["models"], strict=True):
        weights, cache = row["memory"]["weights_ram"], row["memory"]["kv_ram"]
        assert f"{weights / 2**30:.2f} + {cache / 2**30:.2f} + " in line
        assert f" = {row['memory']['ram'] / 2**30:.1f} GiB" in line
    best = run("models", "recommend", "-q")
    assert (best.stdout, best.stderr) == (found["models"][0]["model"] + "\n", "")


def test_the_engine_with_the_gpu_cannot_run_the_model() -> None:
    """Only ctransformers can use the T4, and only llama.cpp can run smollm2."""
    machine = hardware(32, (15,), engine="ctransformers")
    fits = {fit.entry.reference: fit for fit in recommend.recommend(machine)}
    assert (fits["mistral"].gpu_layers, fits["smollm2"].gpu_layers) == (33, 0)
    assert fits["smollm2"].memory == backend("llama.cpp").memory(
        fits["smollm2"].entry.header(), 4096, 0
    )
