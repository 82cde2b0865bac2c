"""The log-probabilities of continuations, from a walk over the trie of their tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mistral_cli.engines.types import Scores
from mistral_cli.errors import EngineFailed

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.streams import Emit
    from mistral_cli.engines.types import ScoreRequest

Tokens = tuple[int, ...]

NEGLIGIBLE = math.log(1e-4)
"""A continuation whose beginning is this much unlikelier than a whole one is not read further.

More tokens can only make it unlikelier. Each of them would cost as much as a generated token.
"""


class NextTokens(Protocol):
    """A model that has read the prompt of one request."""

    def logprobs(self, path: Tokens, tokens: Sequence[int]) -> list[float]:
        """The log-probability of each of `tokens` after the prompt and `path`.

        They are normalized over the vocabulary. Only after an empty path may they be off by an
        amount that is the same for all of them.
        """


def score(model: NextTokens, request: ScoreRequest, emit: Emit) -> None:
    """Emit the Scores of `request`, unless the reader leaves.

    The likeliest beginning is read on first. So continuations that share their beginning share
    the evaluations of it, and one that `NEGLIGIBLE` leaves out has the log-probability of its
    beginning, which is too high.
    """
    nodes = _trie(request.continuations)
    scores: dict[Tokens, float] = {}
    frontier: dict[Tokens, float] = {(): 0.0}
    best, passes = -math.inf, 0
    while frontier:
        path = max(frontier, key=frontier.__getitem__)
        total = frontier.pop(path)
        if total < best + NEGLIGIBLE:
            frontier[path] = total
            break
        tokens = nodes[path]
        # What all of them begin with does not tell them apart.
        decides = path or len(tokens) > 1
        logprobs = model.logprobs(path, tokens) if decides else [0.0]
        for token, logprob in zip(tokens, logprobs, strict=True):
            longer = (*path, token)
            if longer in nodes:
                frontier[longer] = total + logprob
            else:
                scores[longer] = total + logprob
                best = max(best, total + logprob)
        passes += bool(decides)
    known = {**scores, **frontier}
    totals = tuple(_longest_known(each, known) for each in request.continuations)
    emit(Scores(totals, passes))


def _trie(continuations: Sequence[Tokens]) -> dict[Tokens, list[int]]:
    """The tokens that may follow each beginning, in the order of the continuations."""
    nodes: dict[Tokens, dict[int, None]] = {}
    for tokens in continuations:
        for length in range(len(tokens)):
            nodes.setdefault(tokens[:length], {})[tokens[length]] = None
    return {path: [*children] for path, children in nodes.items()}


def _longest_known(tokens: Tokens, known: dict[Tokens, float]) -> float:
    beginnings = (tokens[:length] for length in range(len(tokens), -1, -1))
    return next(known[each] for each in beginnings if each in known)


def check_score(request: ScoreRequest, context_length: int) -> None:
    """Raise EngineFailed unless the prompt and each continuation fit the context."""
    used = len(request.prompt_token_ids)
    longest = max(map(len, request.continuations), default=0)
    if not (used > 0 and used + longest <= context_length):
        raise EngineFailed(
            f"the prompt has {used} tokens, what may follow it {longest}, and the context "
            f"{context_length}",
            hint="Use a larger -c/--context-length.",
        )
