"""Models that think as a script says, with Qwen3's vocabulary and template."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic.scripted import write_scripted

THOUGHT = ["Hidden", " secret", " thought", "."]
ANSWER = ["The", " answer", " is", " four", "<|im_end|>"]
TOKENS = {151667: "<think>", 151668: "</think>"}
"""Qwen3's markers, for the older vocabulary that llama.cpp has."""


@pytest.fixture(scope="session")
def qwen3(
    real_files: Path, real_templates: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model that thinks after `<think>` and a newline, and then answers."""
    script = ["<think>", "\n", *THOUGHT, "</think>", "\n\n", *ANSWER]
    folder = tmp_path_factory.mktemp("models")
    return write_qwen3(folder / "qwen3.gguf", real_files, real_templates, script)


@pytest.fixture(scope="session")
def qwen3_thinker(
    real_files: Path, real_templates: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model that begins a thought by itself, and then answers."""
    script = ["\n", "<think>", *THOUGHT, "</think>", "\n\n", *ANSWER]
    folder = tmp_path_factory.mktemp("models")
    return write_qwen3(folder / "thinker.gguf", real_files, real_templates, script)


def write_qwen3(path: Path, files: Path, templates: dict[str, str], script: list[str]) -> Path:
    """Write a model that continues a prompt that ends in `script[0]` with the rest."""
    vocabulary, template = files / "ggml-vocab-qwen2.gguf", templates["Qwen-Qwen3-0.6B"]
    return write_scripted(path, vocabulary, template, script, respelled=TOKENS)
