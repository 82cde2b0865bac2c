"""Token ids and their text, compared with the packages that made the vocabularies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from synthetic.models import write_tekken

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import backend
from mistral_cli.models.gguf import GGUF, Array, read_gguf
from mistral_cli.models.gguf.token_text import detokenize, token_bytes, token_text
from mistral_cli.models.gguf.types import INT32, STRING


def make_model(kind: str, tokens: list[tuple[bytes, int]]) -> GGUF:
    texts = b"".join(len(text).to_bytes(8, "little") + text for text, _ in tokens)
    types = b"".join(kind.to_bytes(4, "little") for _, kind in tokens)
    metadata = {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.tokens": Array(STRING, len(tokens), texts),
        "tokenizer.ggml.token_type": Array(INT32, len(tokens), types),
    }
    return GGUF(Path("tiny.gguf"), 3, metadata, {}, (), 0)


SPM = make_model("llama", [(b"<unk>", 2), (b"</s>", 3), ("▁a▁b".encode(), 1), (b"<0xE2>", 6)])
BPE = make_model(
    "gpt2", [(b"<|x|>", 3), ("Ġé".encode(), 1), ("é".encode(), 4), (b"raw \xff", 1), (b"<0x0>", 6)]
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (SPM, [b"<unk>", b"</s>", b" a b", b"\xe2"]),
        (BPE, [b"<|x|>", b" \xe9", "é".encode(), b"raw \xff", b"<0x0>"]),
    ],
    ids=["sentencepiece", "byte-level"],
)
def test_every_kind_of_token(model: GGUF, expected: list[bytes]) -> None:
    assert [token_bytes(model, token) for token in range(len(expected))] == expected


def test_control_tokens_have_the_control_type() -> None:
    assert SPM.control_tokens == {"</s>": 1}
    assert BPE.control_tokens == {"<|x|>": 0}


def test_the_text_of_a_control_token_of_another_type_is_as_stored() -> None:
    """Templates write it so, also where `▁` would be a space."""
    text = "<\uff5cend▁of▁sentence\uff5c>"
    for kind in (1, 3, 4):
        assert token_text(make_model("llama", [(text.encode(), kind)]), 0) == text


def test_a_vocabulary_without_types_has_no_control_tokens() -> None:
    metadata = {k: v for k, v in SPM.metadata.items() if k != "tokenizer.ggml.token_type"}
    model = replace(SPM, metadata=metadata)
    assert model.control_tokens == {}
    assert token_text(model, 2) == " a b"


def test_none_has_an_empty_text() -> None:
    assert token_text(SPM, None) == ""


def test_half_a_character_is_replaced() -> None:
    assert detokenize(SPM, [2, 3]) == " a b\ufffd"


def test_the_sentencepiece_vocabulary_has_the_texts_of_mistral_common(mistral: Path) -> None:
    model = read_gguf(mistral)
    pieces = MistralTokenizer.v1().instruct_tokenizer.tokenizer
    ids = range(3 + 256, len(model.tokens))  # after the control and the byte tokens
    read_by_us = [token_text(model, token) for token in ids]
    assert read_by_us == [pieces.id_to_piece(token).replace("▁", " ") for token in ids]


def test_any_text_survives_a_round_trip_in_both_kinds_of_vocabulary(
    mistral: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tekken = write_tekken(tmp_path_factory.mktemp("tekken") / "tekken.gguf")
    for path, space in ((mistral, " "), (tekken, "")):
        model = read_gguf(path)
        with open_tokenizer(backend("llama.cpp"), model) as tokenizer:

            @given(text=st.text(min_size=1).filter(lambda text: not set("\0▁") & set(text)))
            def check(text: str) -> None:
                assert detokenize(model, tokenizer.tokenize(text)) == space + text  # noqa: B023

            check()
