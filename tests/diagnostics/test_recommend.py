"""`models recommend`, on this machine and on machines of other sizes."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace

import pytest
from support.nvidia_driver import GIB
from support.program import Run
from support.terminals import TerminalStream, make_terminal, shown

from mistral_cli.diagnostics import recommend
from mistral_cli.diagnostics.recommend_report import print_recommendations, why
from mistral_cli.engines.hardware import cuda
from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.hardware.probe import EngineState, HardwareReport
from mistral_cli.engines.registry import backend


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
    ("memory", "gpus", "alias"),
    [
        (32, (), "qwen3-30b-a3b-2507"),
        (16, (), "ministral3-14b"),
        (8, (), "ministral3-8b"),
        (4, (), "qwen3-4b-2507"),
        (2, (), "gemma3-1b"),
        (0.5, (), "smollm2"),
        (64, (24,), "qwen3-30b-a3b-2507"),
        (16, (15,), "ministral3-14b"),
        (16, (8,), "ministral3-8b"),
        (16, (4,), "qwen3-4b-2507"),
        (16, (2,), "ministral3-14b"),
    ],
)
def test_the_best_model_for_a_machine(memory: float, gpus: tuple[float, ...], alias: str) -> None:
    fit = best(memory, *gpus)
    assert fit.entry.alias == alias
    assert not fit.shortfall
    assert fit.all_on_gpu == (bool(gpus) and gpus[0] >= 4)


def test_the_best_is_the_largest_of_those_with_its_traits() -> None:
    """`why` says so, whatever the machine."""
    for memory, gpus, cores in itertools.product((0.5, 4, 24), ((), (12,)), (1, 8)):
        first, *others = recommend.recommend(hardware(memory, gpus, cores=cores))
        said = why(first)
        traits = {
            "fits": lambda fit: not fit.shortfall,
            "not slow": lambda fit: not fit.slow,
            "GPU alone": lambda fit: fit.all_on_gpu,
            "2025": lambda fit: fit.entry.released >= "2025",
            "not think": lambda fit: not fit.entry.reasons,
        }
        named = [holds for name, holds in traits.items() if name in said]
        assert named
        assert all(holds(first) == (name in said) for name, holds in traits.items())
        rivals = [fit for fit in others if all(holds(fit) for holds in named)]
        assert all(fit.entry.size <= first.entry.size for fit in rivals)


def test_if_nothing_fits_the_smallest_shortfall_is_first() -> None:
    machine, terminal = hardware(1000 / GIB, cores=2), make_terminal()
    fits = recommend.recommend(machine)
    assert [fit.shortfall for fit in fits] == sorted(fit.shortfall for fit in fits)
    assert fits[0].entry.alias == "smollm2"
    assert fits[0].shortfall > 0
    print_recommendations(terminal, fits, machine, as_json=False)
    assert shown(terminal).endswith("no model fits: smollm2 is 0.2 GiB short of memory\n")


def test_a_model_is_slow_if_its_weights_take_long_to_read() -> None:
    """Mistral Small reads 14 GB for a token; Qwen3 30B, a mixture of experts, reads 2."""
    for memory, gpus, slow in ((32, (), True), (32, (4,), True), (32, (20,), False)):
        fits = {fit.entry.alias: fit for fit in recommend.recommend(hardware(memory, gpus))}
        assert fits["mistral-small-3.2"].slow is slow
        assert not fits["qwen3-30b-a3b-2507"].slow
    assert fits["mistral-small-3.2"].reading == 0
    one_core = {f.entry.alias: f for f in recommend.recommend(hardware(32, cores=1))}
    assert one_core["mistral"].slow
    assert one_core["mistral"].reading == pytest.approx(4.29e9, rel=0.01)


def test_recommend_prints_a_gpu() -> None:
    machine, written = hardware(32, (15,)), io.StringIO()
    fits = recommend.recommend(machine)
    print_recommendations(make_terminal(stdout=written), fits, machine, as_json=True)
    (gpu,) = json.loads(written.getvalue())["machine"]["gpus"]
    assert list(gpu) == ["name", "memory_total", "memory_free", "memory_usable"]


def test_recommend_groups_the_models_by_their_memory(run: Run) -> None:
    found = json.loads(run("models", "recommend", "--json").stdout)
    models = {row["model"]: row for row in found["models"]}
    for row in models.values():
        memory = row["memory"]
        parts = ("weights_ram", "kv_ram", "compute", "engine")
        assert memory["ram"] == sum(memory[part] for part in parts)
    shown = run("models", "recommend")
    lines = [line.split("\t") for line in shown.stdout.splitlines()]
    groups = [line[0] for line in lines]
    assert list(dict.fromkeys(groups)) == [f"up to {gib} GiB" for gib in (2, 4, 8, 16, 24)]
    assert groups == sorted(groups, key=lambda text: int(text.split()[2]))
    assert {line[1] for line in lines} == set(models)
    for group, model, *_, notes in lines:
        row = models[model]
        assert group == f"up to {row['group']} GiB"
        assert ("thinks" in notes, "unverified" in notes) == (row["reasons"], not row["verified"])
    (first, *_) = found["models"]
    assert found["best"]["model"] == first["model"]
    assert f"best here: {first['model']}" in shown.stderr
    assert found["best"]["why"] in shown.stderr
    assert f"models pull {first['model']}" in shown.stderr
    weights, cache = first["memory"]["weights_ram"], first["memory"]["kv_ram"]
    assert f"{weights / 2**30:.2f} weights + {cache / 2**30:.2f} KV cache + " in shown.stderr
    quiet = run("models", "recommend", "-q")
    assert (quiet.stdout, quiet.stderr) == (first["model"] + "\n", "")


def test_a_terminal_of_80_columns_shows_every_model_in_one_line() -> None:
    for machine in (hardware(2, (1.5,)), hardware(64, (3, 3)), hardware(200, (80,)), hardware(8)):
        stdout = TerminalStream()
        terminal = make_terminal(stdout=stdout)
        fits = recommend.recommend(machine)
        print_recommendations(terminal, fits, machine, as_json=False)
        text = re.sub(r"\x1b\[[0-9;]*m", "", stdout.getvalue())
        lines = text.splitlines()
        assert max(map(len, lines)) <= 80
        assert len(lines) == 1 + len({fit.group for fit in fits}) + len(fits)


def test_a_pulled_model_is_not_unverified() -> None:
    machine = hardware(8)
    fits = recommend.recommend(machine)
    pinned = next(fit for fit in fits if fit.entry.alias == "smollm2")
    other = next(fit for fit in fits if fit.entry.alias == "mistral")
    assert replace(pinned, pulled=False).is_verified
    assert not replace(other, pulled=False).is_verified
    assert replace(other, pulled=True).is_verified
    terminal = make_terminal()
    print_recommendations(terminal, [replace(fits[0], pulled=True)], machine, as_json=False)
    assert "which is on this machine" in shown(terminal)
    assert "models pull" not in shown(terminal).partition("best here")[2]


def test_the_engine_with_the_gpu_cannot_run_the_model() -> None:
    """Only ctransformers can use the T4, and only llama.cpp can run smollm2."""
    machine = hardware(32, (15,), engine="ctransformers")
    fits = {fit.entry.alias: fit for fit in recommend.recommend(machine)}
    assert (fits["mistral"].gpu_layers, fits["smollm2"].gpu_layers) == (33, 0)
    assert fits["smollm2"].memory == backend("llama.cpp").memory(
        fits["smollm2"].entry.header(), 4096, 0
    )
