"""The prefixes of a prompt that other prompts are likely to share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from mistral_cli.engines.types import Prefix
from mistral_cli.models.chat import Message

if TYPE_CHECKING:
    from mistral_cli.generation.prompt import EncodedPrompt, Prompt

# Tokens. To prefill a prefix by itself costs a batch that is not full, as much as some tokens.
LEAST_TOKENS, _LEAST_TEXT = 16, 64

_OTHER = "§"  # few texts begin with it


def prefixes_of(
    encoded: EncodedPrompt, encode: Callable[[Prompt], EncodedPrompt], *, question: bool
) -> tuple[Prefix, ...]:
    """The prefixes of a prompt up to where its text begins, and so the next text may differ.

    With a `question` of the user's after the text, also up to where that begins.
    """
    prompt, ids = encoded.prompt, encoded.token_ids
    if isinstance(prompt.content, str):
        return ()
    content = prompt.content[-1].content
    text = prompt.text.text
    if text not in content:  # templates may trim it
        text = text.strip()
    head, found, tail = content.partition(text) if text else ("", "", "")
    others = [head + _OTHER]
    if question and found and tail.strip():
        others.append(head + text + _OTHER)
    lengths, least = [0], LEAST_TOKENS
    for other in others:
        messages = [*prompt.content[:-1], Message("user", other)]
        length = common(ids, encode(replace(prompt, content=messages)).token_ids)
        if lengths[-1] + least <= length < len(ids):
            lengths.append(length)
        least = _LEAST_TEXT
    return tuple(Prefix(ids[:length]) for length in lengths[1:])


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(bool, map(int.__eq__, one, other)))
