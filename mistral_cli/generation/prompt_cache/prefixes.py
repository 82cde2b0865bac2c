"""Which beginnings of a prompt other prompts are likely to have too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from mistral_cli.engines.types import Prefix
from mistral_cli.generation.prompt import Prompt
from mistral_cli.models.chat import Message

Encode = Callable[[Prompt], tuple[int, ...]]

LEAST_TOKENS, _LEAST_TEXT = 16, 64
"""To read a prefix by itself costs a batch that is not full, as much as some tokens."""

_OTHER = "§"  # with what few texts begin


def prefixes_of(
    draft: Prompt, ids: tuple[int, ...], encode: Encode, *, question: bool
) -> tuple[Prefix, ...]:
    """The prefixes of a prompt, `ids`, that come again: as far as the next text changes it.

    And where a `question` of the user's follows the text, as far as the next question does.
    """
    if isinstance(draft.prompt, str):
        return ()
    content = draft.prompt[-1].content
    text = draft.text.text
    if text not in content:  # templates may trim it
        text = text.strip()
    head, found, tail = content.partition(text) if text else ("", "", "")
    others = [head + _OTHER]
    if question and found and tail.strip():
        others.append(head + text + _OTHER)
    lengths, least = [0], LEAST_TOKENS
    for other in others:
        length = common(ids, encode(_saying(draft, other)))
        if lengths[-1] + least <= length < len(ids):
            lengths.append(length)
        least = _LEAST_TEXT
    return tuple(Prefix(ids[:length]) for length in lengths[1:])


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(bool, map(int.__eq__, one, other)))


def _saying(draft: Prompt, content: str) -> Prompt:
    """`draft` with another last message."""
    return replace(draft, prompt=[*draft.prompt[:-1], Message("user", content)])
