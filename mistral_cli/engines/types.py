"""What an engine is asked and what it yields: token ids in, a stream of small events out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FinishReason = Literal["stop", "length"]

PENALTY_WINDOW = 64
"""How many of the last tokens the repetition penalty looks at (llama.cpp's default)."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn, in this order: penalty, top-k, top-p, temperature.

    `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 switch those off;
    `repetition_penalty` 1 is none. The same `seed` gives the same text.
    """

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int


@dataclass(frozen=True)
class Prefix:
    """The first tokens of a prompt, which other prompts may begin with too.

    An engine that can save its state reads them by themselves: what follows is then rounded
    alike whether they were read or restored. `state` is the file with the state after them,
    in `LoadOptions.states`. Where it is not there it is written, if to read them took at least
    `least_seconds`, or if other streams can use it: whole or not at all, for they may look at
    any moment, and a later process too. A complete file must be one that this engine wrote for
    this model: native code does not check it.
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
    `ignore_eos` the tokens that end a text end nothing: `max_tokens` are written, or what fits.
    `prefixes` are in the order of their lengths; one that the prompt does not begin with,
    as when it is asked again in other words, does not count. With `whole` nobody looks at the
    text before its end: it may come in one piece then, with empty ones now and then until it does.
    """

    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    grammar: str | None = None
    ignore_eos: bool = False
    prefixes: tuple[Prefix, ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are evaluated; `cached` of them were so before."""

    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True)
class TextDelta:
    """The next piece of text; may be empty where a token completes no character."""

    text: str


@dataclass(frozen=True)
class Finish:
    """The last event. "stop": the model ended its answer; "length": it was cut.

    `seconds` are those of the prompt and of the answer, where the pieces do not tell them.
    """

    reason: FinishReason
    completion_tokens: int
    seconds: tuple[float, float] | None = None


Event = PrefillProgress | TextDelta | Finish
