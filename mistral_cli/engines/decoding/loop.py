"""The decoding loop of an engine that is driven token by token: sample, emit, evaluate."""

from __future__ import annotations

import codecs
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from mistral_cli.engines.types import Finish, FinishReason, Request, TextDelta
from mistral_cli.errors import EngineFailed

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.constraint import Constraint, Mask
    from mistral_cli.engines.decoding.streams import Emit


class Model(Protocol):
    """A model that has evaluated the prompt of one request."""

    def sample(self, allowed: Mask | None) -> int:
        """The next token, one of the `allowed` ones."""

    def extend(self, tokens: Sequence[int]) -> None:
        """Evaluate `tokens`, after which the next is sampled."""

    def token_bytes(self, token: int) -> bytes:
        """The bytes that `token` adds to the text."""


def decode(
    model: Model,
    *,
    limit: int,
    ends: Container[int | None],
    constraint: Constraint | None,
    emit: Emit,
    markers: Mapping[int, str] = MappingProxyType({}),
    loose: bool = False,
) -> None:
    """Emit a TextDelta for each of up to `limit` tokens, and a Finish.

    `markers` are the tokens that `TextDelta.marker` is for. A `loose` constraint forbids so little
    that each token is sampled without it first.
    """
    # Bytes of a character that the limit cuts off stay in the decoder.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode
    reason: FinishReason = "stop" if constraint and constraint.finished else "length"
    count = 0
    while reason == "length" and count < limit:
        token = _sample(model, constraint, ends, loose=loose)
        count += 1
        if token in ends:
            reason = "stop"
            break
        tokens = [token]
        if constraint:
            constraint.consume(token)
            tokens += [] if loose else constraint.forced(limit - count)
            count += len(tokens) - 1
        for each in tokens:
            marker = markers.get(each)
            piece = text(model.token_bytes(each)) if marker is None else marker
            if not emit(TextDelta(piece, marker=marker is not None)):
                return
        if constraint and constraint.finished:
            reason = "stop"
            break
        if count < limit:
            model.extend(tokens)
    emit(Finish(reason, count))


def _sample(
    model: Model, constraint: Constraint | None, ends: Container[int | None], *, loose: bool
) -> int:
    if constraint is None:
        return model.sample(None)
    if loose:
        token = model.sample(None)
        if constraint.may_end if token in ends else constraint.accepts(token):
            return token
    return model.sample(constraint.allowed())


def token_limit(request: Request, context_length: int) -> int:
    """The most tokens that may be generated: the libraries compute garbage past the context."""
    used = len(request.prompt_token_ids)
    if not 0 < used < context_length:
        raise EngineFailed(
            f"the prompt has {used} tokens, and the context {context_length}",
            hint="Use a larger -c/--context-length.",
        )
    return min(request.max_tokens, context_length - used)
