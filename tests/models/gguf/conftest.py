"""Small GGUF files for the tests of `models.gguf`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic.models import write_mistral, write_tekken

TINY: dict[str, Any] = {
    "vocabulary": 300,
    "embedding": 32,
    "heads": 2,
    "kv_heads": 1,
    "feed_forward": 32,
}


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    extra: dict[str, Any] = {
        "general.alignment": 32,
        "general.type": "model",
        "llama.rope.scaling.type": "none",
        "llama.expert_count": 0,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.eot_token_id": 2,
    }
    return write_mistral(tmp_path_factory.mktemp("tiny") / "tiny.gguf", metadata=extra, **TINY)


@pytest.fixture(scope="session")
def tiny_tekken_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tekken(tmp_path_factory.mktemp("tiny") / "tekken.gguf", vocabulary=1400)
