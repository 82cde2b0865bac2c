"""Short prompts: a context for as many tokens as they can have, so that none need be counted first.

To count the tokens before the weights are read, the vocabulary is opened by itself. That takes
60 ms for 32,000 tokens and 130 ms for 49,000: longer than to read a short prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.generation.job import need_of, settle_context
from mistral_cli.generation.planner import Planner

if TYPE_CHECKING:
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.generation.prompt import Prompt, PromptBuilder
    from mistral_cli.system.reporter import Reporter

# What a 7B model takes for as many tokens is 128 MiB, set to zero in some 30 ms.
_MOST_BYTES = 1024

_USUAL_BYTES = 4  # of a token of English

# Other kinds rewrite the text before they split it, and may make it longer.
_A_TOKEN_IS_A_BYTE_OR_MORE = ("gpt2", "llama")


def plan_short_prompts(
    drafter: PromptBuilder,
    setup: RunConfig,
    drafts: Sequence[tuple[str, Prompt]],
    reporter: Reporter,
) -> Planner | None:
    """A planner whose context is settled, without a tokenizer; None where tokens must be counted.

    They must be where the prompts are long, may be split, or go to a model that is open already.
    """
    if setup.served or setup.model.tokenizer_model not in _A_TOKEN_IS_A_BYTE_OR_MORE:
        return None
    planner = Planner(drafter, setup, _as_many_tokens_as_bytes, setup.load)
    for _, draft in drafts:  # before a long one is split for nothing
        if len(planner.encode(draft)) > min(_MOST_BYTES, planner.room(draft)):
            return None
    needs = [need_of(planner, draft) for _, draft in drafts]
    if any(len(need.prompts) != 1 for need in needs):
        return None
    likely = [replace(n, prompts=(n.prompts[0] // _USUAL_BYTES,)) for n in needs]
    return settle_context(planner, likely, reporter)


def _as_many_tokens_as_bytes(text: str) -> list[int]:
    # SentencePiece puts a space before the text.
    return [0] * (len(text.encode("utf-8", "surrogatepass")) + 1)
