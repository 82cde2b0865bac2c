"""Sample tokens under a grammar: each request tells a llama.cpp server which tokens it may use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mistral_cli.engines.llama_cpp.completion import completion
from mistral_cli.models.gguf.token_text import token_bytes

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.constraint import Mask
    from mistral_cli.engines.llama_cpp.client import LlamaServerClient
    from mistral_cli.engines.types import Request
    from mistral_cli.models.gguf import GGUF

# A grammar of so many tokens costs 6 ms, and forbidding so many costs 1 ms. Most masks are like
# that: they leave little choice, or they belong to a string.
_FEW_ALLOWED, _FEW_FORBIDDEN = 100, 1000

# So many probabilities cost 1 ms. A model that is writing JSON rarely needs more, and each further
# request would cost a second evaluation.
_LIKELIEST = 64


@dataclass
class ConstrainedSampler:
    """Samples the tokens of one answer, each from those that it lets the server use.

    Greedy sampling runs ahead. A token sampled ahead is valid as long as the masks agree: an
    allowed token is still the likeliest if the mask allows none that was forbidden at the time.
    """

    model: GGUF
    client: LlamaServerClient
    request: Request
    slot: int

    ahead: ClassVar[int] = 8
    """The most tokens of one request. Within a string the masks are alike, and a quote ends it;
    each request costs 1 or 2 ms. More tokens would delay a reader who stops the stream."""

    def __post_init__(self) -> None:
        self._tokens = list(self.request.prompt_token_ids)
        self._random = random.Random(self.request.sampling.seed)
        self._ahead: list[int] = []
        self._forbidden: Mask  # when those were sampled

    def sample(self, allowed: Mask | None) -> int:
        """The next token, from those sampled ahead or from the server."""
        if allowed is None:
            return self._sample({})
        if self._ahead and allowed[self._ahead[0]] and not (allowed & self._forbidden).any():
            return self._ahead.pop(0)
        self._ahead, self._forbidden = [], ~allowed
        if few := _only(allowed, self.model):
            return self._sample(few)
        sampling = self.request.sampling
        greedy = sampling.temperature <= 0
        if self._forbidden.sum() <= _FEW_FORBIDDEN:
            run = {"max_tokens": min(self.ahead, self._room()), "stop": ['"']} if greedy else {}
            return self._sample(_forbid(self._forbidden) | run)
        if greedy and not sampling.penalizes:
            for token in self._likeliest():
                if allowed[token]:
                    return token
        return self._sample(_forbid(self._forbidden))

    def _sample(self, restriction: dict[str, Any]) -> int:
        options = {"seed": self._random.getrandbits(31), "return_tokens": True}
        token, *self._ahead = map(int, self._next("tokens", options | restriction))
        return token

    def _room(self) -> int:
        request = self.request
        return request.max_tokens + len(request.prompt_token_ids) - len(self._tokens)

    def _likeliest(self) -> Iterator[int]:
        """Some tokens, the likeliest first: forbidding all the others is what costs time."""
        (step,) = self._next("completion_probabilities", {"n_probs": _LIKELIEST})
        return (int(choice["id"]) for choice in step["top_logprobs"])

    def _next(self, field: str, options: dict[str, Any]) -> Any:
        body = completion(self._tokens, self.request.sampling, 1, self.slot) | options
        # Unlike /v1/completions this returns the id of a token that ends inside a character.
        reply = self.client.post(
            "/completion", body | {"stream": False, "response_fields": [field]}
        )
        return reply[field]

    def extend(self, tokens: Sequence[int]) -> None:
        """Append `tokens`; what was sampled ahead stays valid if it begins with them."""
        self._tokens += tokens
        forced = [*tokens[1:]]
        as_foreseen = self._ahead[: len(forced)] == forced
        self._ahead = self._ahead[len(forced) :] if as_foreseen else []

    def token_bytes(self, token: int) -> bytes:
        """The bytes of `token`, from the vocabulary."""
        return token_bytes(self.model, token)


def _only(allowed: Mask, model: GGUF) -> dict[str, Any] | None:
    """Limit the server to the `allowed` tokens; None where a grammar of its own cannot say so."""
    if allowed.sum() > _FEW_ALLOWED:
        return None
    tokens = allowed.nonzero()[0].tolist()
    # llama.cpp's grammars decide for themselves where a text may end.
    if model.eos_id in tokens or not _whole_characters(model, tokens):
        return None
    return {"grammar": "root ::= " + " | ".join(f"<[{token}]>" for token in tokens)}


def _whole_characters(model: GGUF, tokens: Sequence[int]) -> bool:
    """Whether llama.cpp's grammars can name all `tokens` by number: not single bytes."""
    try:
        return all(token_bytes(model, token).decode() for token in tokens)
    except UnicodeDecodeError:
        return False


def _forbid(forbidden: Mask) -> dict[str, Any]:
    """Keep the server from the `forbidden` tokens: 25 ms if they are most of a vocabulary."""
    return {"logit_bias": [[token, False] for token in forbidden.nonzero()[0].tolist()]}
