"""Adapters and merged models as GGUF files, without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import adapter_files
from support.split_models import split_model
from synthetic.models import write_mistral

from mistral_cli.errors import UsageError
from mistral_cli.finetune import adapter as adapters
from mistral_cli.finetune.adapter import WriteFailed, read_lora, write_adapter
from mistral_cli.finetune.export import write_merged
from mistral_cli.finetune.options import MergedType
from mistral_cli.finetune.tensors import read_floats
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.adapter import read_adapter


@pytest.fixture
def adapter(mistral: Path, tmp_path: Path) -> Path:
    return adapter_files.write_adapter(tmp_path / "adapter.gguf", mistral)


def test_an_adapter_is_written_as_it_was_read(mistral: Path, adapter: Path, tmp_path: Path) -> None:
    model = read_gguf(mistral)
    lora = read_lora(adapter, model)
    write_adapter(lora, model, "Copy", tmp_path / "copy.gguf")
    copy = read_adapter(tmp_path / "copy.gguf")
    assert (copy.name, copy.alpha, copy.rank) == ("Copy", 8.0, 4)
    assert copy.targets == ("attn_q", "attn_v")
    again = read_lora(tmp_path / "copy.gguf", model)
    assert again.pairs.keys() == lora.pairs.keys()
    for name, pair in lora.pairs.items():
        assert all(map(np.array_equal, pair, again.pairs[name]))


def test_a_split_model_gives_the_same_merged_model(
    mistral: Path, adapter: Path, tmp_path: Path
) -> None:
    contents = []
    for path in (mistral, split_model(mistral, tmp_path, "m")[0]):
        model = read_gguf(path)
        merged = tmp_path / "merged.gguf"
        write_merged(model, read_lora(adapter, model), MergedType.Q8_0, merged, lambda _: None)
        contents.append(merged.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(("kind", "tolerance"), [(MergedType.F16, 2e-3), (MergedType.Q8_0, 0.02)])
def test_a_merged_model_has_the_adapter_in_its_weights(
    mistral: Path, adapter: Path, tmp_path: Path, kind: MergedType, tolerance: float
) -> None:
    model, merged_path, shown = read_gguf(mistral), tmp_path / "merged.gguf", []
    lora = read_lora(adapter, model)
    write_merged(model, lora, kind, merged_path, shown.append)
    merged = read_gguf(merged_path)
    assert merged.quantization == kind.upper()
    assert merged.tokens == model.tokens
    assert shown[-1] == f"merging: {len(model.tensors)} of {len(model.tensors)} tensors"
    changed = 0
    for before, after in zip(model.tensors, merged.tensors, strict=True):
        expected = read_floats(mistral, before)
        if (change := lora.change(before.name)) is not None:
            expected = expected + change
            changed += 1
        assert np.allclose(read_floats(merged_path, after), expected, atol=tolerance), before.name
    assert changed == len(lora.pairs) > 0


def test_an_adapter_for_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    other = read_gguf(write_mistral(tmp_path / "other.gguf", embedding=32, heads=2))
    with pytest.raises(UsageError, match=r"does not fit other\.gguf") as refused:
        read_lora(adapter, other)
    assert "-m" in refused.value.hint


def test_a_folder_that_cannot_be_written_is_an_error(
    mistral: Path, adapter: Path, tmp_path: Path
) -> None:
    model = read_gguf(mistral)
    lora = read_lora(adapter, model)
    with pytest.raises(WriteFailed, match="cannot write"):
        write_adapter(lora, model, "Copy", tmp_path / "no-such-folder" / "copy.gguf")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"peft_type": "LORA"}, "cannot be used"),
        ({"peft_type": "IA3", "r": 4, "lora_alpha": 8}, "holds no LoRA adapter"),
        ({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": True}, "uses use_dora"),
        ({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "all"}, "trains biases"),
    ],
)
def test_a_peft_folder_that_cannot_be_used_is_refused(
    mistral: Path, tmp_path: Path, config: dict[str, object], problem: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UsageError, match=problem):
        read_lora(tmp_path, read_gguf(mistral))


@pytest.mark.parametrize("use_rslora", [False, True])
def test_a_peft_folder_is_read_into_the_order_of_ggml(
    monkeypatch: pytest.MonkeyPatch, mistral: Path, tmp_path: Path, use_rslora: bool
) -> None:
    """The rows of a query's B are rotated: transformers pairs i with i + half, ggml neighbours."""
    model = read_gguf(mistral)
    columns, rows = next(t.shape for t in model.tensors if t.name == "blk.0.attn_q.weight")
    heads = model.per_layer("attention.head_count")[0]
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    a = np.ones((4, columns), np.float32)
    b = np.repeat(np.arange(rows, dtype=np.float32)[:, None], 4, axis=1)
    weights = [(name.format("A"), a), (name.format("B"), b)]
    monkeypatch.setattr(adapters, "_read_safetensors", lambda path: weights)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": use_rslora}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    lora = read_lora(tmp_path, model)
    assert lora.alpha == (16.0 if use_rslora else 8.0)
    ((read_a, read_b),) = lora.pairs.values()
    half = rows // heads // 2
    assert np.array_equal(read_a, a)
    assert read_b[:4, 0].tolist() == [0, half, 1, half + 1]


def test_a_matrix_without_its_other_half_is_refused(
    monkeypatch: pytest.MonkeyPatch, mistral: Path, tmp_path: Path
) -> None:
    model = read_gguf(mistral)
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"
    weights = [(name, np.ones((4, 64), np.float32))]
    monkeypatch.setattr(adapters, "_read_safetensors", lambda path: weights)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UsageError, match=r"blk\.0\.attn_v\.weight has no A or no B"):
        read_lora(tmp_path, model)
