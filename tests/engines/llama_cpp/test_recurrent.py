"""A model without attention, as the converter of Mamba writes it, on llama.cpp."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.gguf_parts import GGUFParts, entry, number, words
from support.program import Result

from mistral_cli.models.gguf import Tensor, read_gguf
from mistral_cli.models.gguf.types import FLOAT32

WIDTH, INNER, STATE, RANK = 32, 64, 16, 4
COUNTS = {
    "context_length": 1 << 20,
    "embedding_length": WIDTH,
    "block_count": 1,
    "feed_forward_length": 0,
    "attention.head_count": 0,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": RANK,
}
SHAPES = {
    "output_norm.weight": (WIDTH,),
    "blk.0.attn_norm.weight": (WIDTH,),
    "blk.0.ssm_in.weight": (WIDTH, 2 * INNER),
    "blk.0.ssm_conv1d.weight": (4, INNER),
    "blk.0.ssm_conv1d.bias": (INNER,),
    "blk.0.ssm_x.weight": (INNER, RANK + 2 * STATE),
    "blk.0.ssm_dt.weight": (RANK, INNER),
    "blk.0.ssm_dt.bias": (INNER,),
    "blk.0.ssm_a": (STATE, INNER),
    "blk.0.ssm_d": (INNER,),
    "blk.0.ssm_out.weight": (INNER, WIDTH),
}


@pytest.fixture
def mamba(mistral: Path, tmp_path: Path) -> Path:
    """A Mamba of one layer with random weights and Mistral's vocabulary."""
    parts, random = GGUFParts(mistral), np.random.default_rng(0)
    parts.entries = {k: raw for k, raw in parts.entries.items() if k.startswith("tokenizer.")}
    parts.put(words("general.architecture", "mamba"))
    for key, count in COUNTS.items():
        parts.put(number(f"mamba.{key}", count))
    epsilon = struct.pack("<f", 1e-5)
    parts.put(entry("mamba.attention.layer_norm_rms_epsilon", FLOAT32, epsilon))
    vocabulary = next(t.shape[1] for t in parts.tensors if t.name == "token_embd.weight")
    parts.tensors, parts.data = [], b""
    for name, shape in {"token_embd.weight": (WIDTH, vocabulary), **SHAPES}.items():
        values = random.normal(0, 0.1, shape[::-1]).astype(np.float32)
        values = -np.abs(values) if name.endswith("ssm_a") else values
        parts.tensors.append(Tensor(name, shape, 0, len(parts.data), values.nbytes))
        parts.data += values.tobytes() + bytes(-values.nbytes % 32)
    path = tmp_path / "mamba.gguf"
    path.write_bytes(parts.build())
    return path


def test_a_model_without_attention_runs(mamba: Path, in_process: Callable[..., Result]) -> None:
    assert read_gguf(mamba).kv_bytes(1000) == 0
    facts = json.loads(in_process("models", "show", mamba, "--json").stdout)
    assert (facts["architecture"], facts["engines"]["llama.cpp"]) == ("mamba", "yes")
    options = ("-m", mamba, "-n", 5, "--temperature", 0, "-c", 256, "-t", 1, "--no-serve", "--json")
    answers = [in_process("generate", text, *options) for text in ("One", "Two is more", "One")]
    assert [answer.status for answer in answers] == [0, 0, 0]
    first, _, again = (json.loads(answer.stdout) for answer in answers)
    assert first["completion_tokens"] > 0
    assert first["text"] == again["text"]
