"""Requests and events: token ids go into an engine, and a stream of small events comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FinishReason = Literal["stop", "length"]

PENALTY_WINDOW = 64
"""How many of the last tokens the penalties consider (llama.cpp's default)."""


@dataclass(frozen=True)
class Sampling:
    """How to sample the next token, in this order: penalties, top-k, top-p, temperature.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1, `repetition_penalty` 1 and the other penalties
    at 0 have no effect. The same `seed` gives the same text. `frequency_penalty` and
    `presence_penalty` are OpenAI's: what the logit of a token loses for each time that it occurs
    among the last tokens, and for occurring at all.
    """

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0

    @property
    def penalizes(self) -> bool:
        """Whether tokens that occurred lately become less likely, or more."""
        unlikelier = self.frequency_penalty, self.presence_penalty
        return self.repetition_penalty != 1.0 or any(unlikelier)


@dataclass(frozen=True)
class Prefix:
    """The first tokens of a prompt, with which other prompts may begin too.

    An engine that can save its state prefills them separately, so that what follows is rounded
    in the same way whether they were prefilled or restored. `state` is the file with the state
    after them, in `LoadOptions.states`. A missing file is written if the prefill took at least
    `least_seconds`, or if other streams can use it. It must appear complete or not at all, because
    other streams and later processes may look at any time. A complete file must be one that
    this engine wrote for this model: native code does not check it.
    """

    token_ids: tuple[int, ...]
    state: Path | None = None
    least_seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True)
class Request:
    """One generation: `prompt_token_ids` non-empty and within the context.

    `grammar` is a Lark grammar in llguidance's dialect that the output must match. With
    `ignore_eos` the tokens that end a text have no effect: `max_tokens` are written, or what fits.
    `prefixes` are in the order of their lengths; a prefix that the prompt does not begin with
    is ignored. Without `stream` the text may come in one delta, with empty deltas now and then
    before it. With `logprobs` the deltas of an engine that `listens` have the log probabilities of
    their tokens, and of so many tokens that were likeliest instead; not beside a grammar.
    """

    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    grammar: str | None = None
    ignore_eos: bool = False
    prefixes: tuple[Prefix, ...] = ()
    stream: bool = True
    logprobs: int | None = None


@dataclass(frozen=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are evaluated; `cached` of them already were."""

    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True)
class TokenLogprob:
    """A token as the bytes that it adds to a text, and the natural logarithm of its probability.

    Half a character has a token without a text of its own. `likeliest` are the tokens that were
    likeliest in its place, which may include it.
    """

    text: str
    bytes: tuple[int, ...]
    logprob: float
    likeliest: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """The next piece of text; empty where a token does not complete a character."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Finish:
    """The last event. "stop": the model ended its answer; "length": it was cut.

    `seconds` are the times of prefill and generation, where the events do not show them.
    """

    reason: FinishReason
    completion_tokens: int
    seconds: tuple[float, float] | None = None


Event = PrefillProgress | TextDelta | Finish
