"""Plain text → token ids, never a control token, with an engine's own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelUnusable

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

Tokenize = Callable[[str], list[int]]

# Where the tokenizers of most models cut a text anyway, so that `<|im_start|>` gives the ids that
# it has in a file where it is a control token.
_LETTER_BEFORE_SIGN = re.compile(r"(?<=\w)(?=[^\w\s])")

# In a vocabulary with a piece of several newlines, the first would merge with those of the text.
_BEFORE = ("\n", "\x01")


def tokenize_plain(model: GGUF, text: str, tokenize: Tokenize) -> list[int]:
    """Return the ids of `text` without control tokens of `model`, and without BOS.

    llama.cpp parses tokens of the type USER_DEFINED in every text, even with `parse_special`
    false, and SentencePiece merges pieces into any token. So a text that becomes a control token
    is cut inside that token's text. Raises `ModelUnusable` if that does not help.
    """
    ids, pieces = list[int](), [text]
    continued = cache(partial(tokenize_continued, model, tokenize=tokenize))
    while pieces:
        piece = pieces.pop()
        more = continued(piece) if ids else tokenize(piece)
        if control := model.control_ids.intersection(more):
            pieces += reversed(_cut(model, piece, control))
        else:
            ids += more
    return ids


def tokenize_continued(model: GGUF, text: str, tokenize: Tokenize) -> list[int]:
    """Return the ids of `text` as the continuation of another."""
    if model.tokenizer_model != "llama":
        return tokenize(text)
    # SentencePiece puts a space before a text, but not after a newline or a control character.
    for before in _BEFORE:
        start, ids = tokenize(before), tokenize(before + text)
        if ids[: len(start)] == start:
            return ids[len(start) :]
    return tokenize(text)


def _cut(model: GGUF, text: str, control: Collection[int]) -> list[str]:
    """Cut `text` inside each text of the `control` tokens that it became, or in the middle."""
    texts = [text for text, token in model.control_tokens.items() if token in control]
    matches = re.finditer("|".join(map(re.escape, texts)), text)
    cuts = [match.start() + _cut_at(match[0]) for match in matches] or [len(text) // 2]
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    if not all(pieces):
        raise ModelUnusable(
            f"the vocabulary of {model.path.name} has no plain text for {text[:40]!r}",
            hint="Use another file of this model.",
        )
    return pieces


def _cut_at(text: str) -> int:
    """Where to cut the text of a control token: where tokenizers cut, or in the middle."""
    *_, last = (0, *(match.start() for match in _LETTER_BEFORE_SIGN.finditer(text)))
    return last or len(text) // 2
