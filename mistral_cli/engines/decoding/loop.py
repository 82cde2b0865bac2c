"""The loop of an engine that is driven token by token: draw, write, evaluate."""

from __future__ import annotations

import codecs
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Protocol

from mistral_cli.engines.types import Finish, FinishReason, Request, TextDelta
from mistral_cli.errors import EngineFailed

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.constraint import Constraint, Mask
    from mistral_cli.engines.decoding.streams import Emit


class Model(Protocol):
    """A model that has read the prompt of one request."""

    def draw(self, allowed: Mask | None) -> int:
        """The next token, among the `allowed` ones."""

    def extend(self, tokens: Sequence[int]) -> None:
        """Read `tokens`, after which the next is drawn."""

    def token_bytes(self, token: int) -> bytes:
        """What `token` adds to the text."""


def decode(
    model: Model,
    *,
    limit: int,
    ends: Container[int | None],
    constraint: Constraint | None,
    emit: Emit,
) -> None:
    """Emit a Piece for each of up to `limit` tokens, and a Finish."""
    # Bytes of a character that the limit cuts stay in the decoder.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode
    reason: FinishReason = "length"
    count = 0
    while count < limit:
        token = model.draw(constraint.allowed() if constraint else None)
        count += 1
        if token in ends:
            reason = "stop"
            break
        tokens = [token]
        if constraint:
            constraint.consume(token)
            tokens += constraint.forced(limit - count)
            count += len(tokens) - 1
        for each in tokens:
            if not emit(TextDelta(text(model.token_bytes(each)))):
                return
        if constraint and constraint.finished:
            reason = "stop"
            break
        if count < limit:
            model.extend(tokens)
    emit(Finish(reason, count))


def token_limit(request: Request, context_length: int) -> int:
    """How many tokens may be written: the libraries compute garbage past the context."""
    used = len(request.prompt_token_ids)
    if not 0 < used < context_length:
        raise EngineFailed(
            f"the prompt has {used} tokens, and the context {context_length}",
            hint="Use a larger -c/--context-length.",
        )
    return min(request.max_tokens, context_length - used)
