"""Models that fill a gap as a script says, with the vocabulary of Qwen2.5-Coder."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic.scripted import write_scripted

TOKENS = {151659: "<|fim_prefix|>", 151660: "<|fim_middle|>", 151661: "<|fim_suffix|>"}
"""The markers of Qwen2.5-Coder, for the older vocabulary that llama.cpp has."""

ANSWER = ["a", " +", " b", "\n\n", "print", "(f", "<|endoftext|>"]


@pytest.fixture(scope="session")
def coder(real_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that fills each gap with the same code."""
    script = ["<|fim_middle|>", *ANSWER]
    return write_coder(tmp_path_factory.mktemp("models") / "coder.gguf", real_files, script)


def write_coder(path: Path, files: Path, script: list[str]) -> Path:
    """Write a model that continues a prompt that ends in `script[0]` with the rest."""
    return write_scripted(path, files / "ggml-vocab-qwen2.gguf", "", script, respelled=TOKENS)
