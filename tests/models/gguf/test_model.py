"""`models.gguf.model`: the facts in a header, compared with the reference reader."""

from __future__ import annotations

from pathlib import Path

import gguf as reference
import pytest
from support.gguf_parts import GGUFParts, number, numbers
from synthetic.models import write_mistral

from mistral_cli.models.gguf import read_gguf, reread_gguf, types


def test_reads_the_facts_of_a_mistral_file(tmp_path: Path) -> None:
    path = write_mistral(tmp_path / "m.gguf", "v3", context_length=4096, quantization="Q8_0")
    model = read_gguf(path)
    assert (model.architecture, model.name, model.version) == ("llama", "Tiny Mistral v3", 2)
    assert (model.context_length, model.block_count, model.quantization) == (4096, 2, "Q8_0")
    assert (model.bos_id, model.eos_id, model.eot_id, model.adds_bos) == (1, 2, None, True)
    assert model.tokenizer_model == "llama"
    assert len(model.tokens) == 32768
    assert model.tokens[3] == b"[INST]"
    assert model.token_types is not None
    assert model.token_types[:4] == (2, 3, 3, 3)
    assert model.chat_template is not None
    assert "[INST]" in model.chat_template
    assert model.hparam("attention.head_count") == 4
    assert model.hparam("no.such.key", 7) == 7
    assert model.parameters == sum(tensor.elements for tensor in model.tensors)
    assert model.file_size == path.stat().st_size
    # 2 layers, 2 KV heads of 16 + 16 numbers, 2 bytes each
    assert model.kv_bytes(100) == 2 * 2 * (16 + 16) * 2 * 100


def test_reads_the_same_tensors_as_the_reference_reader(tiny_file: Path) -> None:
    model, expected = read_gguf(tiny_file), reference.GGUFReader(tiny_file)
    assert [
        (each.name, each.shape, each.type_name, each.offset, each.size) for each in model.tensors
    ] == [
        (each.name, tuple(each.shape), each.tensor_type.name, each.data_offset, each.n_bytes)
        for each in expected.tensors
    ]


def test_knows_every_tensor_type() -> None:
    """Q2_0 is newer than the package; its block is `block_q2_0` in ggml's `ggml-common.h`."""
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in reference.GGML_QUANT_SIZES.items()}
    assert {42: ("Q2_0", 64, 18), **theirs} == types.TENSOR_TYPES


@pytest.mark.parametrize("kind", list(reference.LlamaFileType))
def test_names_every_file_type(
    kind: reference.LlamaFileType, tiny_file: Path, tmp_path: Path
) -> None:
    parts = GGUFParts(tiny_file)
    parts.put(number("general.file_type", int(kind)))
    path = tmp_path / "m.gguf"
    path.write_bytes(parts.build())
    guessed = kind is reference.LlamaFileType.GUESSED
    expected = "F32" if guessed else kind.name.removeprefix("ALL_").removeprefix("MOSTLY_")
    assert read_gguf(path).quantization == expected


def test_reads_a_byte_level_vocabulary(tiny_tekken_file: Path) -> None:
    model = read_gguf(tiny_tekken_file)
    assert (model.tokenizer_model, model.adds_bos) == ("gpt2", True)
    assert model.tokens[17] == b"[SYSTEM_PROMPT]"
    assert model.kv_heads == (1,)


def test_counts_kv_heads_per_layer(tiny_file: Path, tmp_path: Path) -> None:
    parts = GGUFParts(tiny_file)
    parts.put(numbers("llama.attention.head_count_kv", [1, 2]))
    path = tmp_path / "m.gguf"
    path.write_bytes(parts.build())
    model = reread_gguf(path)  # its tensors do not fit these heads
    assert model.kv_heads == (1, 2)
    assert model.kv_bytes(10) == 3 * 32 * 2 * 10
