"""The KV cache of models whose layers do not all remember the whole context."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from synthetic.models import write_mistral

from mistral_cli.engines.hardware.kv_cache import cache_of_layers
from mistral_cli.engines.hardware.memory import CPU_BATCH, GPU_BATCH
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.models.catalog import find_built_in
from mistral_cli.models.gguf import read_gguf

WIDTH, HEADS, KV_HEADS, SIZE, INNER, VOCABULARY = 64, 4, 2, 16, 64, 512
CONTEXT = 2048


def write_windowed(path: Path, architecture: str, layers: int, **hparams: Any) -> Path:
    """Write a small model of `architecture`, with Mistral's vocabulary and random weights."""
    tokens = read_gguf(write_mistral(path.with_suffix(".base"), layers=1, vocabulary=VOCABULARY))
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(architecture)
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_feed_forward_length(INNER)
    writer.add_key_length(SIZE)
    writer.add_value_length(SIZE)
    for key, value in hparams.items():
        name = f"{architecture}.{key.replace('__', '.')}"
        writer.add_array(name, value) if isinstance(value, list) else writer.add_uint32(name, value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(tokens.tokens))
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(list(tokens.token_types or ()))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (VOCABULARY, WIDTH),
        "output_norm": (WIDTH,),
    }
    for layer in range(layers):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (WIDTH,),
            "attn_q": (HEADS * SIZE, WIDTH),
            "attn_k": (KV_HEADS * SIZE, WIDTH),
            "attn_v": (KV_HEADS * SIZE, WIDTH),
            "attn_output": (WIDTH, HEADS * SIZE),
            "attn_q_norm": (SIZE,),
            "attn_k_norm": (SIZE,),
            "post_attention_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH),
            "ffn_down": (WIDTH, INNER),
            "post_ffw_norm": (WIDTH,),
        }
        shapes |= {f"blk.{layer}.{part}": shape for part, shape in parts.items()}
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.1, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_llama_cpp_caches_what_the_estimate_says(tmp_path: Path) -> None:
    """The sum of the lines "KV buffer size" in the log of a load."""
    path = write_windowed(tmp_path / "m.gguf", "gemma3", 12, attention__sliding_window=300)
    log = tmp_path / "log"
    model = read_gguf(path)
    with backend("llama.cpp").open(model, LoadOptions(CONTEXT, 1, 1, log_file=log)):
        pass
    logged = sum(map(float, re.findall(r"KV buffer size = *([\d.]+) MiB", log.read_text())))
    cache = cache_of_layers(model, CONTEXT, GPU_BATCH)
    assert sum(cache) / 2**20 == pytest.approx(logged, abs=0.02)
    assert [size < cache[5] for size in cache] == [True, True, True, True, True, False] * 2


def test_gemma_4_caches_less_in_windows_and_nothing_in_shared_layers() -> None:
    """E4B: 24 of 42 layers have a cache, 20 of them with a window of 512 and narrower heads."""
    entry = find_built_in("gemma4-e4b")
    assert entry
    cache = cache_of_layers(entry.header(), 4096, GPU_BATCH)
    assert cache[24:] == [0] * 18
    full, narrow = 2 * (512 + 512) * 2 * 4096, 2 * (256 + 256) * 2 * 1024
    assert cache[:24] == ([narrow] * 5 + [full]) * 4


def test_recurrent_layers_keep_a_state_of_one_size() -> None:
    """The 48 of Qwen3.6 27B keep 156,893,184 bytes, according to others' logs."""
    entry = find_built_in("qwen3.5-9b")
    assert entry
    dimensions = replace(
        entry.dimensions, layers=64, more={**entry.dimensions.more, "ssm.inner_size": 6144}
    )
    for context in (512, 4096):
        cache = cache_of_layers(dimensions.header("27B", 1), context, CPU_BATCH)
        attention = cache[3::4]
        assert attention == [4 * 512 * 2 * context] * 16
        assert sum(cache) - sum(attention) == 156_893_184


def test_every_second_layer_of_gpt_oss_has_a_window() -> None:
    entry = find_built_in("gpt-oss-20b")
    assert entry
    cache = cache_of_layers(entry.header(), 4096, CPU_BATCH)
    assert cache == [8 * 128 * 2 * 256, 8 * 128 * 2 * 4096] * 12


def test_a_window_that_llama_cpp_does_not_use_changes_nothing(tmp_path: Path) -> None:
    """Mistral v0.1 was trained with a window of 4,096 tokens; its architecture has none."""
    metadata = {"llama.attention.sliding_window": 64}
    model = read_gguf(write_mistral(tmp_path / "m.gguf", metadata=metadata))
    assert sum(cache_of_layers(model, 512, CPU_BATCH)) == model.kv_bytes(512)
