"""The vocabulary model: small, and each engine's tokenizer in it is that of the real model."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from ctypes import c_int
from pathlib import Path

import pytest
import xllamacpp
from ctransformers.llm import LLM, Config
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
    llm = LLM(str(path), "gguf", config=Config(context_length=64), lib="basic")
    tokens = []
    for data in (text.encode() for text in TEXTS):
        buffer = (c_int * (len(data) + 18))()
        tokens.append(buffer[: llm.ctransformers_llm_tokenize(data, True, buffer)])
    return tokens


def with_llama_cpp(path: Path) -> list[list[int]]:
    listener = path.with_suffix(".sock")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = params.n_batch = params.n_ubatch = 64
    params.verbosity = -1
    params.warmup = params.ui = params.endpoint_slots = params.fit_params = False
    params.no_extra_bufts = True
    params.n_threads_http = 1
    params.cache_ram_mib = 0
    params.hostnames = [str(listener)]
    server = xllamacpp.Server(params)
    tokens = [ask(listener, text) for text in TEXTS]
    del server
    listener.unlink(missing_ok=True)
    return tokens


def ask(listener: Path, content: str) -> list[int]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(listener))
    body = {"content": content, "add_special": True, "parse_special": True}
    connection.request("POST", "/tokenize", json.dumps(body))
    tokens: list[int] = json.loads(connection.getresponse().read())["tokens"]
    connection.close()
    return tokens


@pytest.mark.parametrize("version", ["v1", "v3", "v7", "tekken"])
def test_both_engines_tokenize_as_with_the_model(version: str, tmp_path: Path) -> None:
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


def test_carries_the_tokenizer_unchanged_and_little_else(tmp_path: Path) -> None:
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


def test_raises_oserror_where_it_cannot_write(tmp_path: Path) -> None:
    model = gguf.read_gguf(write_mistral(tmp_path / "real.gguf"))
    with pytest.raises(OSError, match="No such file"):
        write_vocabulary_model(model, tmp_path / "absent" / "small.gguf")
