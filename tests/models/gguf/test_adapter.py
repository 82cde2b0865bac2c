"""`models.gguf.adapter`: reading an adapter, refusing a bad one, and comparing it with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from support.adapted import adapted
from support.adapter_files import Change, write_adapter
from synthetic.models import write_mistral

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf import Tensor, read_gguf
from mistral_cli.models.gguf.adapter import read_adapter

TINY: dict[str, Any] = {
    "vocabulary": 300,
    "embedding": 64,
    "heads": 4,
    "kv_heads": 2,
    "feed_forward": 96,
}
EVERY_KIND = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mistral(tmp_path_factory.mktemp("model") / "tiny.gguf", **TINY)


def test_reads_the_facts_of_an_adapter(model: Path, tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "a.gguf", model, EVERY_KIND, rank=3, alpha=6.0))
    assert (adapter.architecture, adapter.alpha, adapter.rank) == ("llama", 6.0, 3)
    assert adapter.targets == tuple(sorted(EVERY_KIND))
    assert len(adapter.pairs) == 14
    assert adapter.name == "Tiny adapter"
    assert adapter.file_size == (tmp_path / "a.gguf").stat().st_size
    assert adapter.parameters == 3 * sum(sum(each.shape) for each in _matrices(model))
    assert adapter.problem_with(read_gguf(model)) is None


def _matrices(model: Path) -> list[Tensor]:
    return [each for each in read_gguf(model).tensors if each.name.split(".")[-2] in EVERY_KIND]


def test_llama_cpp_loads_an_accepted_adapter(model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", model, EVERY_KIND, size=0.5)
    assert read_adapter(adapter).problem_with(read_gguf(model)) is None
    prompt = [1, 290, 291, 292]
    with adapted(model, None) as base, adapted(model, adapter) as changed:
        plain = base.log_probabilities(prompt)
        assert changed.log_probabilities(prompt, scale=0.0) == plain
        assert changed.log_probabilities(prompt) != plain


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"embedding": 32, "feed_forward": 96}, "in shape (64, 64); in the model it has"),
        (
            {"layers": 1},
            "'blk.1.attn_q.weight', which the model does not have",
        ),
        ({"kv_heads": 1}, "it changes 'blk.0.attn_v.weight' in shape (64, 32)"),
    ],
)
def test_names_the_difference_from_the_model(
    model: Path, tmp_path: Path, other: dict[str, Any], problem: str
) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "a.gguf", model))
    another = read_gguf(write_mistral(tmp_path / "other.gguf", **{**TINY, **other}))
    assert problem in (adapter.problem_with(another) or "")


def test_names_another_architecture(model: Path, tmp_path: Path) -> None:
    def change(writer: gguf.GGUFWriter, tensors: dict[str, Any]) -> None:
        writer.kv_data[0].pop("general.architecture")
        writer.add_string("general.architecture", "qwen2")

    adapter = read_adapter(write_adapter(tmp_path / "a.gguf", model, change=change))
    assert adapter.problem_with(read_gguf(model)) == "it is for the architecture qwen2, not llama"


def _metadata(key: str, value: Any, kind: gguf.GGUFValueType) -> Change:
    def change(writer: gguf.GGUFWriter, tensors: dict[str, Any]) -> None:
        writer.kv_data[0].pop(key, None)
        writer.add_key_value(key, value, kind)

    return change


def _without(key: str) -> Change:
    return lambda writer, tensors: writer.kv_data[0].pop(key) and None


def _tensor(name: str, values: Any) -> Change:
    return lambda writer, tensors: tensors.update({name: values})


def _no_tensors(writer: gguf.GGUFWriter, tensors: dict[str, Any]) -> None:
    tensors.clear()


def _half(writer: gguf.GGUFWriter, tensors: dict[str, Any]) -> None:
    tensors.pop("blk.0.attn_q.weight.lora_b")


F64, F32, STRING = gguf.GGUFValueType.FLOAT64, gguf.GGUFValueType.FLOAT32, gguf.GGUFValueType.STRING
A_OF_Q = "blk.0.attn_q.weight.lora_a"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_metadata("general.type", "model", STRING), "is a model, not an adapter"),
        (_metadata("adapter.type", "control", STRING), "is an adapter of type 'control'"),
        (_without("adapter.type"), "is an adapter of type None"),
        (_without("general.architecture"), "does not name its architecture"),
        (_without("adapter.lora.alpha"), "has an impossible alpha: None"),
        (_metadata("adapter.lora.alpha", 16.0, F64), "has an impossible alpha: 16.0"),
        (_metadata("adapter.lora.alpha", float("nan"), F32), "has an impossible alpha: nan"),
        (_no_tensors, "has no weights"),
        (_half, "'blk.0.attn_q.weight.lora_a' has no counterpart"),
        (_tensor("blk.0.attn_norm.weight", np.ones((2, 2), np.float32)), "has no counterpart"),
        (
            _tensor(A_OF_Q, np.ones((3, 64), np.float32)),
            "have different ranks",
        ),
        (_tensor(A_OF_Q, np.ones(64, np.float32)), "cannot be part of an adapter"),
    ],
)
def test_refuses(model: Path, tmp_path: Path, change: Change, problem: str) -> None:
    path = write_adapter(tmp_path / "bad.gguf", model, change=change)
    with pytest.raises(ModelUnusable, match=r"bad\.gguf") as refused:
        read_adapter(path)
    assert problem in refused.value.message
    assert refused.value.hint


def test_refuses_models_and_truncated_files(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="not an adapter"):
        read_adapter(model)
    whole = write_adapter(tmp_path / "a.gguf", model).read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:-100])
    with pytest.raises(ModelUnusable, match="is truncated"):
        read_adapter(cut)
    with pytest.raises(ModelUnusable, match="cannot be read"):
        read_adapter(tmp_path / "missing.gguf")
