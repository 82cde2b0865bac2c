"""Check what a grammar admits, byte by byte."""

from __future__ import annotations

import llguidance

_BYTES = llguidance.LLTokenizer("byte")


def admits(grammar: str, text: str) -> bool:
    """Whether `grammar` admits `text` as a complete answer."""
    matcher = llguidance.LLMatcher(_BYTES, grammar)
    assert not matcher.is_error(), matcher.get_error()[:300]
    tokens = list(text.encode())
    fits = matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens)
    return bool(fits and matcher.is_accepting())
