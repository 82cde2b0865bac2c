"""When weights are repacked at load, and that the answers stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engine_io import GREEDY
from support.program import Run
from synthetic.models import write_mistral

from mistral_cli.engines.hardware.memory import needed, repacked
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.repacking import AVX2, AVX512, repack_pays
from mistral_cli.engines.types import Request
from mistral_cli.models.gguf import GGUF, read_gguf


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "q4_0.gguf"
    return write_mistral(path, quantization="Q4_0")


def _decides(model: GGUF, prompt_tokens: int, new_tokens: int) -> bool:
    return repack_pays(AVX2, model, prompt_tokens, new_tokens, needed(model, 512, 0))[0]


def test_repacking_pays_for_many_new_tokens(quantized: Path) -> None:
    model = read_gguf(quantized)
    assert not _decides(model, 20, 64)
    assert _decides(model, 20, 2048)
    assert _decides(model, 100, 400)
    assert not _decides(model, 2000, 400), "prompts are read slower"


def test_each_engine_has_its_own_costs(quantized: Path) -> None:
    model = read_gguf(quantized)
    memory = needed(model, 512, 0)
    assert [repack_pays(each, model, 20, 200, memory)[0] for each in (AVX2, AVX512, None)] == [
        True,
        False,
        False,
    ]


def test_no_copy_is_made_that_does_not_fit(
    quantized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_gguf(quantized)
    memory = needed(model, 512, 0)
    for free, fits in ((memory.ram + repacked(model), True), (memory.ram, False), (None, True)):
        monkeypatch.setattr(
            "mistral_cli.engines.repacking.available_memory", lambda free=free: free
        )
        assert repack_pays(AVX2, model, 20, 2048, memory)[0] is fits


def test_weights_that_cannot_be_repacked_are_left_alone(smollm2: Path, mistral: Path) -> None:
    """llama.cpp does not repack Q4_1 and F32 weights."""
    assert not repacked(read_gguf(smollm2))
    assert not repacked(read_gguf(mistral))
    assert not _decides(read_gguf(smollm2), 20, 10**6)


@pytest.mark.parametrize("quantization", ["Q4_0", "Q4_K"])
def test_the_answer_is_the_same(tmp_path: Path, quantization: str) -> None:
    """Greedy, token by token. Other kernels may round differently; no step here is a near-tie."""
    path = write_mistral(
        tmp_path / "model.gguf", embedding=256, feed_forward=512, quantization=quantization
    )
    model, texts = read_gguf(path), []
    for repack in (False, True):
        options = LoadOptions(512, threads=1, repack=repack)
        with backend("llama.cpp").open(model, options) as engine:
            request = Request((1, *engine.tokenize("Write a line about the sea.")), 48, GREEDY)
            texts.append([getattr(event, "text", "") for event in engine.stream(request)])
    assert texts[0] == texts[1]
    assert any(texts[0])


def test_the_work_ahead_decides(run: Run, quantized: Path, tmp_path: Path) -> None:
    arguments = ["generate", "Say more.", "--dry-run", "-v", "-m", quantized]
    for number in range(6):
        path = tmp_path / f"{number}.txt"
        path.write_text("The tide comes in.", encoding="utf-8")
        arguments += ["-f", path]
    assert "weights repacked" in run(*arguments).stderr
    assert "weights as they are in the file" in run(*arguments, "-n", 8).stderr
