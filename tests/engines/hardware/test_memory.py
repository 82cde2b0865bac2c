"""The memory that a model takes: the estimate from its header, and the kernel's count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic.models import write_mistral

from mistral_cli.engines.hardware.memory import GPU_BATCH, needed, needed_in_2023
from mistral_cli.engines.registry import backend
from mistral_cli.models.catalog import BUILT_IN, find_built_in
from mistral_cli.models.gguf import read_gguf

RESIDENT = Path(__file__).parents[2] / "support" / "resident.py"

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="there is no /proc here"
)


def measured(engine: str, model: Path, context: int, tokens: int, parallel: int = 1) -> int:
    arguments = (RESIDENT, engine, model, context, tokens, parallel)
    command = [sys.executable, *map(str, arguments)]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=250).stdout)


@needs_proc
@pytest.mark.parametrize("context", [512, 4096])
def test_llama_cpp_takes_the_estimated_memory(smollm2: Path, context: int) -> None:
    estimate = needed(read_gguf(smollm2), context, 0).ram
    assert measured("llama.cpp", smollm2, context, 64) == pytest.approx(estimate, rel=0.1)


@needs_proc
@pytest.mark.parametrize("parallel", [4, 16])
def test_every_slot_takes_a_cache_of_its_own(smollm2: Path, parallel: int) -> None:
    estimate = needed(read_gguf(smollm2), 1024, 0, parallel)
    one = needed(read_gguf(smollm2), 1024, 0)
    assert estimate.kv_ram == parallel * one.kv_ram
    found = measured("llama.cpp", smollm2, 1024, 64, parallel)
    assert found == pytest.approx(estimate.ram, rel=0.1)


@needs_proc
def test_ctransformers_takes_the_estimated_memory(smollm2_for_ctransformers: Path) -> None:
    """It touches its KV cache only as it fills, so the prompt fills it."""
    model, context = smollm2_for_ctransformers, 1024
    estimate = needed_in_2023(read_gguf(model), context, 0).ram
    assert measured("ctransformers", model, context, context - 8) == pytest.approx(
        estimate, rel=0.1
    )


@needs_proc
@pytest.mark.skipif("MISTRAL_CLI_7B" not in os.environ, reason="MISTRAL_CLI_7B names no file")
@pytest.mark.parametrize(
    ("engine", "context", "tokens"),
    [("llama.cpp", 512, 64), ("llama.cpp", 4096, 64), ("ctransformers", 512, 504)],
)
def test_seven_billion_parameters(engine: str, context: int, tokens: int) -> None:
    model = Path(os.environ["MISTRAL_CLI_7B"])
    estimate = backend(engine).memory(read_gguf(model), context, 0).ram
    assert measured(engine, model, context, tokens) == pytest.approx(estimate, rel=0.1)


def test_the_compute_buffer_is_that_of_the_old_log() -> None:
    """Of the llama.cpp in ctransformers, in MB: it has no flash attention, so context counts."""
    found = {
        name: [needed_in_2023(entry.header(), tokens, 99).compute / 2**20 for tokens in contexts]
        for name, contexts in {
            "mistral": (512, 4096, 16384),
            "smollm2": (512, 4096, 8192),
        }.items()
        if (entry := find_built_in(name))
    }
    assert found == {
        "mistral": pytest.approx([73.41, 281.41, 1049.41], abs=0.01),
        "smollm2": pytest.approx([98.53, 98.53, 148.78], abs=0.01),
    }


def test_the_old_library_keeps_copies_of_weights_on_the_gpu() -> None:
    """Of Mistral 7B's output and feed-forward matrices, in F32; a driver counted 1.0 GiB."""
    entry = find_built_in("mistral")
    assert entry
    memory = needed_in_2023(entry.header(), 2048, 16)
    assert memory.dequantized == 4 * (32000 * 4096 + 4096 * 14336)
    assert memory.gpu == memory.weights_gpu + memory.compute + memory.dequantized
    assert needed_in_2023(entry.header(), 2048, 0).dequantized == 0


def test_ctransformers_keeps_its_cache_in_memory_but_with_all_layers(tmp_path: Path) -> None:
    model = read_gguf(write_mistral(tmp_path / "m.gguf", layers=4, vocabulary=512))
    weights = sum(tensor.size for tensor in model.tensors)
    output = sum(t.size for t in model.tensors if t.name.startswith("output"))
    none, one, four, everything = (needed_in_2023(model, 256, layers) for layers in (0, 1, 4, 5))
    assert (none.weights_ram, none.gpu, none.kv_ram) == (weights, 0, model.kv_bytes(256))
    assert 0 < one.weights_gpu < four.weights_gpu == everything.weights_gpu - output
    for memory in (one, four):
        assert (memory.kv_ram, memory.kv_gpu) == (model.kv_bytes(256), 0)
    assert (everything.kv_ram, everything.kv_gpu) == (0, model.kv_bytes(256))


def test_every_layer_that_moves_takes_its_weights_and_cache_along(tmp_path: Path) -> None:
    model = read_gguf(write_mistral(tmp_path / "m.gguf", layers=4, vocabulary=512))
    weights = sum(tensor.size for tensor in model.tensors)
    by_name = {tensor.name: tensor.size for tensor in model.tensors}
    none, output, one, everything = (needed(model, 256, layers) for layers in (0, 1, 2, 5))
    assert (none.weights_ram, none.weights_gpu, none.gpu) == (weights, 0, 0)
    assert output.weights_gpu == by_name["output.weight"] + by_name["output_norm.weight"]
    assert output.kv_gpu == 0
    last = sum(size for name, size in by_name.items() if name.startswith("blk.3."))
    assert one.weights_gpu - output.weights_gpu == last
    assert one.kv_gpu == model.kv_bytes(256) // 4
    assert everything.weights_ram == by_name["token_embd.weight"]
    assert (everything.kv_ram, everything.kv_gpu) == (0, model.kv_bytes(256))
    assert needed(model, 256, 99) == everything
    for memory in (none, output, one, everything):
        assert memory.weights_ram + memory.weights_gpu == weights
        assert memory.kv_ram + memory.kv_gpu == model.kv_bytes(256)


def test_tied_embeddings_are_on_both_sides(smollm2: Path) -> None:
    model = read_gguf(smollm2)
    memory = needed(model, 512, model.block_count + 1)
    embeddings = next(t.size for t in model.tensors if t.name == "token_embd.weight")
    assert memory.weights_ram == embeddings
    assert memory.weights_gpu == sum(tensor.size for tensor in model.tensors)


def test_the_compute_buffer_is_that_of_llama_cpps_log() -> None:
    """Of Mistral 7B's shape, in the log: 31.13 and 33.00 MiB, and 124.52 on a GPU's batch."""
    entry = find_built_in("mistral")
    assert entry
    model, mib = entry.header(), 2**20
    found = [
        needed(model, *arguments).compute / mib for arguments in ((512, 0), (8192, 0), (512, 1))
    ]
    assert found == pytest.approx([31.13, 33.00, 124.5], abs=0.02)
    assert GPU_BATCH == 512


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.alias)
def test_built_in_models_add_up(entry) -> None:  # type: ignore[no-untyped-def]
    memory = needed(entry.header(), 4096, 0)
    assert memory.weights_ram == pytest.approx(entry.size, rel=1e-3)


def test_the_table_agrees_with_the_real_file(smollm2: Path) -> None:
    real, entry = read_gguf(smollm2), find_built_in("smollm2")
    assert entry
    assert entry.size == real.file_size
    known, estimate = needed(real, 4096, 0), needed(entry.header(), 4096, 0)
    assert (known.kv_ram, known.compute, known.engine) == (
        estimate.kv_ram,
        estimate.compute,
        estimate.engine,
    )
