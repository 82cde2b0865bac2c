"""Tests on a real GPU, if this machine has one that an engine can use; CI has none.

`scripts/test tests/engines/test_on_a_gpu.py -rs` says which engines were tried, and
`scripts/gpu_check` runs them with everything else that needs a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu.memory import FillFailed, filled
from support.program import NATIVE, Result
from synthetic.models import write_mistral

from mistral_cli.engines.hardware.probe import probe
from mistral_cli.engines.llama_cpp.machine_build import FOLDER_VARIABLE
from mistral_cli.engines.registry import automatic

SURVEY = probe(automatic())
ENGINES = [name for name in automatic() if name in SURVEY.engines and SURVEY.engines[name].gpus]

pytestmark = pytest.mark.skipif(not ENGINES, reason="no engine can use a GPU here")
each_engine = pytest.mark.parametrize("engine", ENGINES or ["none"])

Ask = Callable[..., Result]
GREEDY = ("--temperature", "0", "--repetition-penalty", "1", "--raw")


@pytest.fixture(scope="module")
def wide_mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model wide enough for every matrix kernel of a GPU, with the layers of a real one."""
    path = tmp_path_factory.mktemp("models") / "wide.gguf"
    return write_mistral(
        path, layers=8, embedding=1024, heads=8, feed_forward=2048, quantization="Q8_0"
    )


@pytest.fixture
def ask(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run the program with the GPUs and this machine's build visible."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv(FOLDER_VARIABLE, str(NATIVE))
    return run


def answer(ask: Ask, model: Path, engine: str, *options: object) -> dict[str, Any]:
    done = ask(
        *("generate", "The harbour committee met on", "-m", model, "--engine", engine),
        *("-n", 16, "--json", *GREEDY, *options),
    )
    assert done.status == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@each_engine
def test_automatic_layers_are_all_layers_of_a_small_model(
    ask: Ask, wide_mistral: Path, engine: str
) -> None:
    found = answer(ask, wide_mistral, engine)
    assert found["gpu_layers"] == 9
    assert found["completion_tokens"] > 0


@each_engine
@pytest.mark.parametrize("layers", [0, 1, 4, 8, "all"])
def test_the_requested_layers_and_a_text_for_each_number(
    ask: Ask, wide_mistral: Path, engine: str, layers: int | str
) -> None:
    found = answer(
        ask, wide_mistral, engine, "-ngl", layers, *(("--require-gpu",) if layers else ())
    )
    assert found["gpu_layers"] == (9 if layers == "all" else layers)
    assert found["finish_reason"] in ("length", "stop")


@each_engine
def test_no_layers_use_no_gpu_memory(ask: Ask, wide_mistral: Path, engine: str) -> None:
    assert answer(ask, wide_mistral, engine, "-ngl", 0)["gpu_layers"] == 0


@each_engine
def test_a_real_model_gives_the_same_text_on_gpu_and_cpu(
    ask: Ask, smollm2: Path, smollm2_for_ctransformers: Path, engine: str
) -> None:
    model = smollm2_for_ctransformers if engine == "ctransformers" else smollm2
    cpu, gpu = (answer(ask, model, engine, "-ngl", layers)["text"] for layers in (0, "all"))
    assert cpu[:20] == gpu[:20]  # later tokens may fall to another rounding


@pytest.fixture
def full_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that keeps the GPU's memory, all but a little, while the test runs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    try:
        with filled(900 * 2**20):
            yield
    except FillFailed as error:
        pytest.skip(f"the GPU's memory could not be taken: {error}")


@each_engine
@pytest.mark.usefixtures("full_gpu")
def test_fewer_layers_are_used_if_memory_is_short_with_a_warning(
    ask: Ask, smollm2: Path, smollm2_for_ctransformers: Path, engine: str
) -> None:
    model = smollm2_for_ctransformers if engine == "ctransformers" else smollm2
    asked = ("generate", "Say hi", "-m", model, "--engine", engine, "-n", 4, "-c", 8192, "--json")
    done = ask(*asked, "-ngl", "all")
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    if found["gpu_layers"] < 31:
        assert "instead" in done.stderr or "CPU" in done.stderr


def test_doctor_finds_the_gpu(ask: Ask) -> None:
    done = ask("doctor", "--json")
    assert SURVEY.gpus[0].name in done.stdout


@each_engine
def test_a_batch_runs_on_the_gpu(ask: Ask, wide_mistral: Path, engine: str, tmp_path: Path) -> None:
    lines = "".join(f"Question number {number}\n" for number in range(12))
    out = tmp_path / "out.jsonl"
    done = ask(
        *("batch", "generate", "-", "-m", wide_mistral, "--engine", engine, "-n", 8, "-o", out),
        stdin=lines,
    )
    assert done.status == 0, done.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == 12
    assert all(record["error"] is None for record in records)
