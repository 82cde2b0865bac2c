"""Draw tokens under a grammar from a llama.cpp server that is told what each may be."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.llama_cpp.completion import completion
from mistral_cli.models.gguf.token_text import token_bytes

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.constraint import Mask
    from mistral_cli.engines.llama_cpp.client import Client
    from mistral_cli.engines.types import Request
    from mistral_cli.models.gguf import GGUF

# A grammar of as many tokens costs 6 ms, to forbid as many 1 ms. Most masks are so: they leave
# little choice, or are those of a text.
_FEW_ALLOWED, _FEW_FORBIDDEN = 100, 1000

# As many probabilities cost 1 ms. A model that means to write JSON rarely needs more, which
# would cost a second evaluation.
_LIKELIEST = 64

# Within a text the masks are alike, and it ends with a quote: so many tokens are asked for at
# once, since each request costs 1 ms or 2. More would keep waiting whoever stops the stream.
_RUN = 8


@dataclass
class Drawing:
    """Draws the tokens of one answer, each among those that the server is told to allow.

    Where the likeliest are wanted, it draws ahead. What it drew counts while the masks bear it
    out: a token that they allow is the likeliest while they allow none that was forbidden then.
    """

    model: GGUF
    client: Client
    request: Request
    slot: int

    def __post_init__(self) -> None:
        self._tokens = list(self.request.prompt_token_ids)
        self._random = random.Random(self.request.sampling.seed)
        self._ahead: list[int] = []
        self._forbidden: Mask  # while those were drawn

    def draw(self, allowed: Mask | None) -> int:
        """See Model."""
        if allowed is None:
            return self._draw({})
        if self._ahead and allowed[self._ahead[0]] and not (allowed & self._forbidden).any():
            return self._ahead.pop(0)
        self._ahead, self._forbidden = [], ~allowed
        if few := _only(allowed, self.model):
            return self._draw(few)
        sampling = self.request.sampling
        greedy = sampling.temperature <= 0
        if self._forbidden.sum() <= _FEW_FORBIDDEN:
            run = {"max_tokens": min(_RUN, self._room()), "stop": ['"']} if greedy else {}
            return self._draw(_without(self._forbidden) | run)
        if greedy and sampling.repetition_penalty == 1.0:
            for token in self._likeliest():
                if allowed[token]:
                    return token
        return self._draw(_without(self._forbidden))

    def _draw(self, restriction: dict[str, Any]) -> int:
        asked = {"seed": self._random.getrandbits(31), "return_tokens": True}
        token, *self._ahead = map(int, self._next("tokens", asked | restriction))
        return token

    def _room(self) -> int:
        request = self.request
        return request.max_tokens + len(request.prompt_token_ids) - len(self._tokens)

    def _likeliest(self) -> Iterator[int]:
        """Some tokens, the likeliest first: to forbid the rest is what costs time."""
        (step,) = self._next("completion_probabilities", {"n_probs": _LIKELIEST})
        return (int(choice["id"]) for choice in step["top_logprobs"])

    def _next(self, field: str, asked: dict[str, Any]) -> Any:
        body = completion(self._tokens, self.request.sampling, 1, self.slot) | asked
        # Unlike /v1/completions this gives the id of a token that ends inside a character.
        reply = self.client.post(
            "/completion", body | {"stream": False, "response_fields": [field]}
        )
        return reply[field]

    def extend(self, tokens: Sequence[int]) -> None:
        """See Model."""
        self._tokens += tokens
        forced = [*tokens[1:]]
        as_foreseen = self._ahead[: len(forced)] == forced
        self._ahead = self._ahead[len(forced) :] if as_foreseen else []

    def token_bytes(self, token: int) -> bytes:
        """See Model."""
        return token_bytes(self.model, token)


def _only(allowed: Mask, model: GGUF) -> dict[str, Any] | None:
    """Let the server draw among the `allowed` tokens; None where a grammar cannot tell it so."""
    if allowed.sum() > _FEW_ALLOWED:
        return None
    tokens = allowed.nonzero()[0].tolist()
    # llama.cpp's grammars decide themselves where a text may end.
    if model.eos_id in tokens or not _whole_characters(model, tokens):
        return None
    return {"grammar": "root ::= " + " | ".join(f"<[{token}]>" for token in tokens)}


def _whole_characters(model: GGUF, tokens: Sequence[int]) -> bool:
    """Whether llama.cpp's own grammars know `tokens` by number: not those of a lone byte."""
    try:
        return all(token_bytes(model, token).decode() for token in tokens)
    except UnicodeDecodeError:
        return False


def _without(forbidden: Mask) -> dict[str, Any]:
    """Keep the server from the `forbidden` tokens: 25 ms where they are most of a vocabulary."""
    return {"logit_bias": [[token, False] for token in forbidden.nonzero()[0].tolist()]}
