"""The vocabulary model: small, and in each engine its tokenizer equals that of the real model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.bare_engines import (
    open_ctransformers,
    open_xllamacpp,
    tokenize_with_ctransformers,
    tokenize_with_xllamacpp,
)
from synthetic.models import write_mistral, write_tekken

from mistral_cli.models import gguf
from mistral_cli.models.gguf.vocabulary import write_vocabulary_model

TEXTS = [
    "Hello world",
    "  two  spaces\n\nnew lines\tand a tab ",
    "[INST] <s> </s> [/INST]",
    "こんにちは世界 — naïve “quotes” …",
    "\N{SLIGHTLY SMILING FACE} \N{RUNIC LETTER FEHU FEOH FE F}",
    "def f(x):\n    return x ** 2  # 12345",
]
Tokenize = Callable[[Path], list[list[int]]]


def with_ctransformers(path: Path) -> list[list[int]]:
    llm = open_ctransformers(path)
    return [tokenize_with_ctransformers(llm, text) for text in TEXTS]


def with_llama_cpp(path: Path) -> list[list[int]]:
    listener = path.with_suffix(".sock")
    server = open_xllamacpp(path, listener)
    tokens = [
        tokenize_with_xllamacpp(listener, text, add_special=True, parse_special=True)
        for text in TEXTS
    ]
    del server
    listener.unlink(missing_ok=True)
    return tokens


@pytest.mark.parametrize("version", ["v1", "v3", "v7", "tekken"])
def test_both_engines_tokenize_like_the_real_model(version: str, tmp_path: Path) -> None:
    real, small = tmp_path / "real.gguf", tmp_path / "small.gguf"
    if version == "tekken":
        write_tekken(real)
    else:
        write_mistral(real, version)  # type: ignore[arg-type]
    write_vocabulary_model(gguf.read_gguf(real), small)
    engines: list[Tokenize] = [with_llama_cpp]
    if version != "tekken":
        engines.append(with_ctransformers)
    for tokenize in engines:
        assert tokenize(small) == tokenize(real)


def test_copies_the_tokenizer_and_little_else(tmp_path: Path) -> None:
    model = gguf.read_gguf(write_mistral(tmp_path / "real.gguf", "v3"))
    path = tmp_path / "small.gguf"
    write_vocabulary_model(model, path)
    small = gguf.read_gguf(path)
    expected = {key: raw for key, raw in model.entries.items() if key.startswith("tokenizer.ggml")}
    assert expected == {key: small.entries[key] for key in small.entries if key in expected}
    assert small.chat_template is None
    assert small.context_length == 512
    assert path.stat().st_size < 4 << 20
    assert set(path.read_bytes()[min(tensor.offset for tensor in small.tensors) :]) == {0}


def test_raises_oserror_if_it_cannot_write(tmp_path: Path) -> None:
    model = gguf.read_gguf(write_mistral(tmp_path / "real.gguf"))
    with pytest.raises(OSError, match="No such file"):
        write_vocabulary_model(model, tmp_path / "absent" / "small.gguf")
