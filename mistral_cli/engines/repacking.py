"""Whether llama.cpp is to rearrange weights as it loads them: a slow start, then faster tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.hardware.memory import Memory, rearranged
from mistral_cli.system.machine import available_memory

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF


@dataclass(frozen=True)
class Repacking:
    """What rearranged weights cost, in new tokens that must be written before they pay.

    `load` is for opening, `prompt_token` for each token that is read, which takes longer.
    """

    load: int
    prompt_token: float


# Measured on 2 cores with a 7B shape in Q4_K_M. All of it grows with the file, so that the
# ratios hold for others.
AVX2 = Repacking(140, 1.0)  # opens 2.4 s later; writes in 0.129 for 0.146 s, reads in 65 for 47 ms
AVX512 = Repacking(
    310, 0.7
)  # opens 5.2 s later; writes in 0.115 for 0.132 s, reads in 30 for 19 ms


def repack_pays(
    repacking: Repacking | None,
    model: GGUF,
    prompt_tokens: int,
    new_tokens: int,
    memory: Memory,
) -> tuple[bool, str]:
    """Whether to rearrange the weights for so many tokens in one process, and why.

    `prompt_tokens` are read and `new_tokens` written, as far as is known. `memory` is what
    the model takes as it is in its file; rearranged weights are a copy beside it. `repacking`
    is what it costs in the engine, None where that rearranges nothing.
    """
    if repacking is None:
        return False, "as they are in the file"
    copy, free = rearranged(model), available_memory()
    pays_from = round(repacking.load + repacking.prompt_token * prompt_tokens)
    if not copy:
        return False, "as they are in the file: of a kind that is not rearranged"
    if new_tokens < pays_from:
        return False, f"as they are in the file: rearranged they pay from {pays_from} new tokens"
    if free is not None and memory.ram + copy > free:
        return False, f"as they are in the file: a copy takes {copy / 2**30:.1f} GiB more"
    return True, f"rearranged, for about {new_tokens} new tokens"
