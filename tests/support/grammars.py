"""Check what a grammar admits, byte by byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import llguidance
import pytest

from mistral_cli.engines.decoding.constraint import llguidance_tokenizer
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.token_text import token_bytes

_BYTES = llguidance.LLTokenizer("byte")


def admits(grammar: str, text: str) -> bool:
    """Whether `grammar` admits `text` as a complete answer."""
    matcher = llguidance.LLMatcher(_BYTES, grammar)
    assert not matcher.is_error(), matcher.get_error()[:300]
    tokens = list(text.encode())
    fits = matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens)
    return bool(fits and matcher.is_accepting())


def admitted(grammar: str, texts: Iterable[str]) -> list[str]:
    """Those of `texts` that `grammar` admits; it is compiled once, which takes 15 ms."""
    matcher = llguidance.LLMatcher(_BYTES, grammar)
    assert not matcher.is_error(), matcher.get_error()[:300]
    fitting = []
    for text in texts:
        tokens = list(text.encode())
        if matcher.validate_tokens(tokens) == len(tokens):
            matcher.consume_tokens(tokens)
            fitting += [text] if matcher.is_accepting() else []
            matcher.reset()
    return fitting


@pytest.fixture(scope="session")
def grammar_tokenizer(mistral: Path) -> Iterator[object]:
    """The tokenizer of the small Mistral model, for grammars."""
    model = read_gguf(mistral)
    with backend("ctransformers").open(model, LoadOptions(64, threads=1)) as session:
        yield llguidance_tokenizer(model, session.tokenize, lambda token: token_bytes(model, token))
