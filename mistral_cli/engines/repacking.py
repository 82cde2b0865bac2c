"""Decide whether llama.cpp repacks weights as it loads them: a slow start, then faster tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.hardware.memory import Memory, repacked
from mistral_cli.system.machine import available_memory

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF


@dataclass(frozen=True)
class Repacking:
    """The cost of repacked weights, in new tokens that must be generated before they pay.

    `load` is for the load, and `prompt_token` for each token of the prompts: prefill is slower.
    """

    load: int
    prompt_token: float


# Measured on 2 cores with a model of Mistral 7B's dimensions in Q4_K_M. All of it grows with the
# file, so that the ratios hold for other models.
AVX2 = Repacking(140, 1.0)
"""Loads 2.4 s longer; a new token takes 0.129 instead of 0.146 s, prefill 65 instead of 47 ms."""
AVX512 = Repacking(310, 0.7)
"""Loads 5.2 s longer; a new token takes 0.115 instead of 0.132 s, prefill 30 instead of 19 ms."""


def repack_pays(
    repacking: Repacking | None,
    model: GGUF,
    prompt_tokens: int,
    new_tokens: int,
    memory: Memory,
) -> tuple[bool, str]:
    """Whether to repack the weights for so many tokens in one process, and why.

    `prompt_tokens` and `new_tokens` are those of all calls, as far as we know. `memory` is what
    the model takes without repacking; repacked weights are a copy in addition. `repacking` is the
    cost in the engine, or None if it cannot repack.
    """
    if repacking is None:
        return False, "as they are in the file"
    copy, free = repacked(model), available_memory()
    pays_from = round(repacking.load + repacking.prompt_token * prompt_tokens)
    if not copy:
        return False, "as they are in the file: llama.cpp does not repack this type"
    if new_tokens < pays_from:
        return False, f"as they are in the file: repacking pays from {pays_from} new tokens"
    if free is not None and memory.ram + copy > free:
        return False, f"as they are in the file: a copy takes {copy / 2**30:.1f} GiB more"
    return True, f"repacked, for about {new_tokens} new tokens"
