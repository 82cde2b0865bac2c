"""Vocabularies that lack what the engines' libraries expect, each in a process of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from support.short_vocabularies import write_short_vocabulary
from synthetic.scripted import write_scripted

from mistral_cli.engines.isolated.session import open_in_process
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineSelection
from mistral_cli.models.gguf import read_gguf, reread_gguf


@pytest.mark.parametrize("name", ["llama.cpp", "ctransformers"])
def test_a_space_without_a_token_of_its_own(name: str, real_files: Path, tmp_path: Path) -> None:
    """SentencePiece writes it as "▁", which has 3 bytes: more tokens than the text has bytes."""
    short = write_short_vocabulary(tmp_path / "short.gguf", real_files / "ggml-vocab-phi-3.gguf")
    tokens = reread_gguf(short).tokens
    spaced = {n: f"odd {n}" for n, token in enumerate(tokens) if "▁" in token.decode()}
    script = ["A", "B", "</s>"]
    path = write_scripted(tmp_path / "model.gguf", short, "", script, respelled=spaced)
    selection = EngineSelection(backend(name), "a test", 0, "")
    model = read_gguf(path)
    with closing(open_in_process(selection, model, LoadOptions(64, threads=1), print)) as engine:
        ids = engine.tokenize(" " * 5000)
    spelled = b"".join(model.tokens[token] for token in ids)
    assert spelled == b"<0xE2><0x96><0x81>" * (len(ids) // 3)
    assert len(ids) >= 3 * 5000
