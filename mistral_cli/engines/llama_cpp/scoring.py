"""Log-probabilities of tokens from a llama.cpp server, which are what `score` asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.decoding.streams import StreamStopped
from mistral_cli.engines.llama_cpp.completion import NotANumber
from mistral_cli.engines.types import PrefillProgress

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.streams import Emit
    from mistral_cli.engines.llama_cpp.client import LlamaServerClient
    from mistral_cli.engines.types import ScoreRequest

_BIAS = 512.0
"""What is added to the logits of the tokens in question, so that no other token comes near them.

Logits are below 100. In 32 bits, 512 and a logit have steps of 0.00006.
"""

_LETTER = "a"
"""A token whose text is whole."""

_EVERY = 1 << 24  # more tokens than any vocabulary has

_LEAST = 1e-38
"""The server's probabilities have 32 bits; a smaller one has lost its digits, or is 0."""


class _NothingReported(Exception):
    """The server sampled a token whose text ends within a character, and left it out."""


@dataclass
class SlotScorer:
    """The model after the prompt of `request`, in a slot of the server.

    Each request samples one token, which is thrown away: it is the server's way of reporting
    probabilities. The slot keeps the prompt, so that only `path` is evaluated after the first.
    With `checks_numbers` the first of them shows whether the model computes NaN, which the
    probabilities among a few tokens hide.
    """

    client: LlamaServerClient
    request: ScoreRequest
    slot: int
    emit: Emit
    checks_numbers: bool
    _cached: int | None = field(default=None, init=False)

    def logprobs(self, path: tuple[int, ...], tokens: Sequence[int]) -> list[float]:
        """As `NextTokens`. Raises NotANumber, and StreamStopped if the reader has left."""
        try:
            return self._logprobs(path, tokens)
        except _NothingReported:
            return self._all(path, tokens)

    def _logprobs(self, path: tuple[int, ...], tokens: Sequence[int]) -> list[float]:
        compared = self._compared(path, tokens) if len(tokens) > 1 else [0.0]
        if not (path or self.checks_numbers):
            return compared
        best = max(compared)
        own = self._own(path, tokens[compared.index(best)])
        return [own + each - best for each in compared]

    def _compared(self, path: tuple[int, ...], tokens: Sequence[int]) -> list[float]:
        """The log-probabilities among `tokens` alone, whose probabilities add up to 1."""
        count = len(tokens)
        options = {"samplers": ["top_k", "temperature"], "top_k": count, "n_probs": count}
        step = self._sample(path, tokens, {**options, "post_sampling_probs": True})
        found = {int(each["id"]): each["prob"] for each in step["top_probs"]}
        return [math.log(max(found.get(token, 0.0), _LEAST)) for token in tokens]

    def _own(self, path: tuple[int, ...], token: int) -> float:
        """The log-probability of `token` in the whole vocabulary.

        The server reports that of the sampled token as it was before the bias, which makes the
        server sample this one.
        """
        step = self._sample(path, [token], {"samplers": ["top_k"], "top_k": 1, "n_probs": 1})
        self._check_number(step)
        return float(step["logprob"])

    def _all(self, path: tuple[int, ...], tokens: Sequence[int]) -> list[float]:
        """The log-probabilities of `tokens`, from a report of the whole vocabulary.

        The server samples a letter, because it reports nothing about a token that ends within a
        character, as those of emoji and of many Chinese characters do. With SmolLM2's 49,152 tokens
        that takes about a second on two busy cores.
        """
        step = self._sample(path, [_LETTER], {"samplers": ["top_k"], "top_k": 1, "n_probs": _EVERY})
        self._check_number(step)
        found = {int(each["id"]): float(each["logprob"]) for each in step["top_logprobs"]}
        return [found.get(token, math.log(_LEAST)) for token in tokens]

    def _check_number(self, step: dict[str, Any]) -> None:
        """Raise NotANumber if the model did not compute one."""
        self.checks_numbers = False
        if step["logprob"] is None:  # which is how JSON writes NaN
            raise NotANumber("the model computes no numbers (NaN)", hint="Use another model.")

    def _sample(
        self, path: tuple[int, ...], tokens: Sequence[int | str], options: dict[str, Any]
    ) -> dict[str, Any]:
        """The server's report of a token that it samples among `tokens`.

        Raises _NothingReported, and StreamStopped if the reader has left.
        """
        prompt = [*self.request.prompt_token_ids, *path]
        body = {
            "id_slot": self.slot,
            "prompt": prompt,
            "n_predict": 1,
            "temperature": 1.0,
            "seed": 0,
            "stream": False,
            "logit_bias": [[token, _BIAS] for token in tokens],
            "response_fields": ["completion_probabilities", "timings"],
            **options,
        }
        total = len(self.request.prompt_token_ids)

        def is_wanted() -> bool:
            self.client.wait_ready()  # a server that hangs must not look alive
            return self.emit(self._progress(total))

        reply = self.client.post_while("/completion", body, is_wanted)
        if reply is None:
            raise StreamStopped
        if self._cached is None:
            self._cached = min(int(reply["timings"]["cache_n"]), total)
            if not self.emit(self._progress(total)):
                raise StreamStopped
        steps: list[dict[str, Any]] = reply.get("completion_probabilities") or []
        if not steps:
            raise _NothingReported
        return steps[0]

    def _progress(self, total: int) -> PrefillProgress:
        if self._cached is None:
            return PrefillProgress(0, total)
        return PrefillProgress(total, total, self._cached)
