"""Requests and events: token ids go into an engine, and a stream of small events comes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mistral_cli.models.chat.reasoning import Markers, PromptEnd

FinishReason = Literal["stop", "length"]

PENALTY_WINDOW = 64
"""How many of the last tokens the penalties consider by default, as in llama.cpp."""


@dataclass(frozen=True)
class Sampling:
    """How to sample the next token: penalties, DRY, top-k, top-p, min-p, and then the temperature.

    That order is llama.cpp's, and every engine keeps it. `temperature` 0 is greedy; `top_k` 0,
    `top_p` 1, `min_p` 0, `repetition_penalty` 1 and the other penalties at 0 have no effect. The
    same `seed` gives the same text.

    `frequency_penalty` and `presence_penalty` are OpenAI's: what the logit of a token loses for
    each time that it occurs among the last `repeat_last_n` tokens, and for occurring at all. DRY
    penalizes a token that would continue a repetition of at least `dry_allowed_length` tokens: its
    logit loses `dry_multiplier` x `dry_base` ** (tokens repeated - `dry_allowed_length`). It looks
    for them among the last `dry_penalty_last_n` tokens. A window of 0 tokens switches its
    penalties off.
    """

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    min_p: float = 0.0
    repeat_last_n: int = PENALTY_WINDOW
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = PENALTY_WINDOW

    @property
    def penalizes(self) -> bool:
        """Whether tokens that occurred lately become less likely, or more."""
        unlikelier = self.frequency_penalty, self.presence_penalty, self.dry_multiplier
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
class Thinking:
    """What a model may think before it answers a request.

    `end` is how the prompt ends: inside a thought, after one, or undecided. `tokens` are the ids
    and texts of the markers, or parts of them, that are tokens of the vocabulary: the engine
    reports them as `TextDelta.marker`, even if they are control tokens. A thought ends after
    `limit` tokens: it is closed for the model if it `closes`, and else the answer is cut.
    """

    markers: Markers
    end: PromptEnd
    tokens: tuple[tuple[int, str], ...]
    limit: int
    closes: bool = False

    def continued(self, thought: str, tokenize: Callable[[str], list[int]]) -> list[int]:
        """The token ids of a complete thought, and of what leads from it to the answer.

        The thought is plain text, whatever it quotes; only the markers are control tokens.
        """
        markers, ids = self.markers, {text: token for token, text in self.tokens}
        opening = markers.opening if self.end == "undecided" else ""
        leads_on = f"{markers.closing}{markers.header}{markers.skipping}"
        return [
            *_encoded(opening, ids, tokenize),
            *tokenize(thought.strip()),
            *_encoded(leads_on, ids, tokenize),
        ]


def _encoded(
    text: str, ids: Mapping[str, int], tokenize: Callable[[str], list[int]]
) -> Iterator[int]:
    parts = re.split("|".join(f"({re.escape(each)})" for each in ids), text) if ids else [text]
    for part in filter(None, parts):
        yield from [ids[part]] if part in ids else tokenize(part)


@dataclass(frozen=True)
class Request:
    """One generation: `prompt_token_ids` non-empty and within the context.

    `grammar` is a Lark grammar in llguidance's dialect that the output must match. A `loose` one
    forbids little: each token is sampled without it, and again only if the grammar forbids it.
    `written` is the beginning of the output, which the last tokens of the prompt contain already.
    With
    `ignore_eos` the tokens that end a text have no effect: `max_tokens` are written, or what fits.
    `prefixes` are in the order of their lengths; a prefix that the prompt does not begin with
    is ignored. Without `stream` the text may come in one delta, with empty deltas now and then
    before it. With `logprobs` the deltas of an engine that `listens` have the log probabilities of
    their tokens, and of so many tokens that were likeliest instead; not beside a grammar.
    `thinking` is for a model that may think; `engines.reasoning` applies it. `schema` is the JSON
    Schema behind the grammar, for servers that take that instead: it may allow more.
    """

    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    grammar: str | None = None
    loose: bool = False
    ignore_eos: bool = False
    prefixes: tuple[Prefix, ...] = ()
    stream: bool = True
    logprobs: int | None = None
    thinking: Thinking | None = None
    written: str = ""
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ScoreRequest:
    """How likely each of several `continuations` of a prompt is.

    The prompt and each continuation with it fit the context. No continuation is empty, occurs
    twice or is the beginning of another: a token that ends the answer makes them differ.
    `prefixes` are as in `Request`.
    """

    prompt_token_ids: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    prefixes: tuple[Prefix, ...] = ()


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
    """The next piece of text; empty where a token does not complete a character.

    It stands for so many `tokens`. `marker` is True if it is one of those in `Request.thinking`.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    tokens: int = 1
    marker: bool = False


@dataclass(frozen=True)
class ReasoningDelta:
    """The next piece of a thought, which is not part of the answer, and its `tokens`."""

    text: str
    tokens: int = 1


@dataclass(frozen=True)
class Finish:
    """The last event. "stop": the model ended its answer; "length": it was cut.

    `seconds` are the times of prefill and generation, where the events do not show them.
    `completion_tokens` are those of the answer, `reasoning_tokens` those of thoughts. `stop_text`
    is the stop text that ended the answer, if one did.
    """

    reason: FinishReason
    completion_tokens: int
    seconds: tuple[float, float] | None = None
    reasoning_tokens: int = 0
    stop_text: str | None = None


@dataclass(frozen=True)
class Scores:
    """The last event of a ScoreRequest: the log-probability of each continuation.

    It is the sum over the tokens of the continuation, less an amount that is the same for all of
    them. `passes` is how often the model was evaluated, the prompt included.
    """

    logprobs: tuple[float, ...]
    passes: int


Event = PrefillProgress | TextDelta | ReasoningDelta | Finish | Scores
