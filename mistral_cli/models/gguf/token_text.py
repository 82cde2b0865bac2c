"""Token ids → their text, from the vocabulary of a GGUF file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from mistral_cli.models.gguf.types import BYTE_TOKEN, CONTROL_TOKEN, USER_DEFINED_TOKEN

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

_SPACE = "▁"
_WITH_VISIBLE_SPACES = ("llama", "gemma4")  # Gemma 4's merges are of plain text, not of bytes
_BYTE_NAME = re.compile(rb"<0x([0-9A-Fa-f]{2})>")


def token_text(model: GGUF, token: int | None) -> str:
    """Return the text of one token; an empty text for None."""
    return "" if token is None else token_bytes(model, token).decode("utf-8", "replace")


def detokenize(model: GGUF, tokens: Iterable[int]) -> str:
    """Return the text of `tokens`, including that of control tokens."""
    return b"".join(token_bytes(model, token) for token in tokens).decode("utf-8", "replace")


def token_bytes(model: GGUF, token: int) -> bytes:
    """Return the bytes of one token; a character may span several tokens."""
    if (known := model.spelled(token)) is not None:
        return known
    raw, kind = model.tokens[token], (model.token_types or {token: 1})[token]
    if kind == BYTE_TOKEN and (match := _BYTE_NAME.fullmatch(raw)):
        return bytes([int(match[1], 16)])
    if kind == CONTROL_TOKEN or token in model.control_ids:
        return raw
    if model.tokenizer_model in _WITH_VISIBLE_SPACES:
        return raw.replace(_SPACE.encode(), b" ")
    if kind == USER_DEFINED_TOKEN:
        return raw  # stored in the vocabulary as plain text
    try:
        return bytes(_gpt2_bytes()[character] for character in raw.decode("utf-8"))
    except (KeyError, UnicodeDecodeError):
        return raw  # stored as plain bytes


@cache
def _gpt2_bytes() -> dict[str, int]:
    """GPT-2 stores each byte as a printable character (`bytes_to_unicode` of openai/gpt-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + index): byte for index, byte in enumerate(others)}
