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

# In tokens. Prefilling a prefix by itself takes a batch that is not full, which costs as much as
# prefilling some more tokens.
MIN_TOKENS, _MIN_TEXT_TOKENS = 16, 64

_OTHER_TEXT = "§"  # few texts begin with it


def prefixes_of(
    encoded: EncodedPrompt, encode: Callable[[Prompt], EncodedPrompt], *, question: bool
) -> tuple[Prefix, ...]:
    """The prefix of a prompt up to its text, which the next prompt may replace.

    With a `question` of the user's after the text, also the prefix up to the question.
    """
    prompt, ids = encoded.prompt, encoded.token_ids
    if isinstance(prompt.content, str):
        return ()
    content = prompt.content[-1].content
    text = prompt.text.text
    if text not in content:  # templates may trim it
        text = text.strip()
    head, separator, tail = content.partition(text) if text else ("", "", "")
    others = [head + _OTHER_TEXT]
    if question and separator and tail.strip():
        others.append(head + text + _OTHER_TEXT)
    lengths, minimum = [0], MIN_TOKENS
    for other in others:
        messages = [*prompt.content[:-1], Message("user", other)]
        length = common_length(ids, encode(replace(prompt, content=messages)).token_ids)
        if lengths[-1] + minimum <= length < len(ids):
            lengths.append(length)
        minimum = _MIN_TEXT_TOKENS
    return tuple(Prefix(ids[:length]) for length in lengths[1:])


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens that both begin with."""
    return sum(1 for _ in takewhile(bool, map(int.__eq__, one, other)))
