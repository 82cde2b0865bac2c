"""The 19 vocabularies of llama.cpp: the ids of Hugging Face's tokenizers, or their kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.odd_texts import TEXTS

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import backend
from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf import GGUF, read_gguf, reread_gguf
from mistral_cli.models.gguf.known import ARCHITECTURES, PRE_TOKENIZERS
from mistral_cli.models.gguf.token_text import detokenize, token_bytes
from mistral_cli.models.gguf.vocabulary import write_vocabulary_model

ENGINES = {
    name: ["llama.cpp"]
    for name in (
        *("aquila", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2"),
        *("gpt-neox", "llama-bpe", "mpt", "qwen2", "qwen35", "refact", "starcoder"),
    )
} | {name: ["llama.cpp", "ctransformers"] for name in ("baichuan", "llama-spm", "phi-3")}
"""The vocabularies of models that write text, with the engines that run them."""

OTHERS = {"bert-bge": "an embedding model", "nomic-bert-moe": "an embedding"}


@pytest.mark.parametrize("name", OTHERS)
def test_vocabularies_that_are_not_for_writing_are_named(
    name: str, real_files: Path, tmp_path: Path
) -> None:
    """As a file of llama.cpp's architecture, and of one that nobody knows."""
    path = tmp_path / "model.gguf"
    write_vocabulary_model(reread_gguf(real_files / f"ggml-vocab-{name}.gguf"), path)
    with pytest.raises(ModelUnusable, match=f"is {OTHERS[name]}") as caught:
        read_gguf(path)
    assert "instruct model" in caught.value.hint
    with pytest.raises(ModelUnusable, match="is an embedding model"):
        read_gguf(real_files / f"ggml-vocab-{name}.gguf")


def reference_ids(real_files: Path, name: str) -> list[tuple[str, list[int]]]:
    """The texts of llama.cpp's tests with the ids of Hugging Face's tokenizer; [] without any."""
    texts = real_files / f"ggml-vocab-{name}.gguf.inp"
    if not texts.exists():
        return []
    split = texts.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = texts.with_suffix(".out").read_text().split("\n")
    ids = [[int(token) for token in line.split()] for line in lines]
    assert 0 <= len(ids) - len(split) <= 1  # that of Gemma 4 has a line more
    return list(zip(split, ids, strict=False))


def written(model: GGUF, text: str) -> str:
    """What the ids of `text` stand for: SentencePiece adds a space, and reads `▁` as one."""
    match model.tokenizer_model:
        case "llama":
            return " " + text.replace("▁", " ")
        case "gemma4":
            return text.replace("▁", " ")
    # llama.cpp leaves out what has no token, as Falcon's vocabulary lacks some control characters.
    known = {token_bytes(model, token) for token, _ in enumerate(model.tokens)}
    return "".join(c for c in text if ord(c) > 0x7F or c.encode() in known)


def tokenizers(
    real_files: Path, name: str, folder: Path
) -> Iterator[tuple[GGUF, Callable[[str], list[int]]]]:
    path = folder / "vocabulary.gguf"
    write_vocabulary_model(reread_gguf(real_files / f"ggml-vocab-{name}.gguf"), path)
    model = read_gguf(path)
    for engine in ENGINES[name]:
        with open_tokenizer(backend(engine), model) as session:
            yield model, session.tokenize


@pytest.mark.parametrize("name", ENGINES)
def test_token_ids_are_those_of_hugging_face(name: str, real_files: Path, tmp_path: Path) -> None:
    for model, tokenize in tokenizers(real_files, name, tmp_path):
        for text, ids in reference_ids(real_files, name):
            assert tokenize(text) == ids, text
        for kind, text in TEXTS.items():
            ids = tokenize(text)
            assert not model.control_ids.intersection(ids), kind
            assert detokenize(model, ids) == written(model, text), kind


def test_all_vocabularies_are_tested(real_files: Path) -> None:
    names = {file.stem.removeprefix("ggml-vocab-") for file in real_files.glob("*.gguf")}
    assert names == {*ENGINES, *OTHERS}
    assert len(names) == 19
    with_ids = [name for name in ENGINES if reference_ids(real_files, name)]
    assert len(with_ids) == 14
    assert sum(len(reference_ids(real_files, name)) for name in with_ids) > 650


def test_names_are_those_of_llama_cpp(real_files: Path) -> None:
    source = (real_files / "src" / "llama-arch.cpp").read_text()
    table = source.partition("LLM_ARCH_NAMES = {")[2].partition("};")[0]
    names = set(re.findall(r'\{ LLM_ARCH_\w+, *"([^"]+)"', table)) - {"(unknown)"}
    assert {"gemma-embedding2"} == ARCHITECTURES - names
    assert names < ARCHITECTURES
    source = (real_files / "src" / "llama-vocab.cpp").read_text()
    assert set(re.findall(r'tokenizer_pre == "([^"]+)"', source)) == PRE_TOKENIZERS
