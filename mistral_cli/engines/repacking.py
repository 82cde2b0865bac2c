"""Whether llama.cpp is to rearrange weights as it loads them: a slow start, then faster tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cli.machine import available_memory
from mistral_cli.memory import Memory, rearranged

if TYPE_CHECKING:
    from mistral_cli.gguf import GGUF

# Measured on 2 cores (AVX2 build) with a 7B shape in Q4_K_M, twice, one beside the other:
# rearranged it opens 2.4 s later, writes a token in 0.129 s in place of 0.146, and reads one in
# 0.065 s in place of 0.047. All of that grows with the file, so its ratios hold for others.
_PAYS_FROM, _A_PROMPT_TOKEN = 140, 1.0


def repack_pays(
    model: GGUF, prompt_tokens: int, new_tokens: int, memory: Memory
) -> tuple[bool, str]:
    """Whether to rearrange the weights for so many tokens in one process, and why.

    `prompt_tokens` are read and `new_tokens` written, as far as is known. `memory` is what
    the model takes as it is in its file; rearranged weights are a copy beside it.
    """
    copy, free = rearranged(model), available_memory()
    pays_from = round(_PAYS_FROM + _A_PROMPT_TOKEN * prompt_tokens)
    if not copy:
        return False, "as they are in the file: of a kind that is not rearranged"
    if new_tokens < pays_from:
        return False, f"as they are in the file: rearranged they pay from {pays_from} new tokens"
    if free is not None and memory.ram + copy > free:
        return False, f"as they are in the file: a copy takes {copy / 2**30:.1f} GiB more"
    return True, f"rearranged, for about {new_tokens} new tokens"
