"""Tokens guessed ahead, which the model checks together: from the text, or by a draft model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NGRAM_MATCH = 8
"""From the text: that many tokens must have stood there already. With 12, fewer are found."""

NGRAM_DRAFT = 24
"""From the text: at most that many are guessed, at least `NGRAM_MATCH`.

They are checked in one batch. On 2 cores one of 16 takes the machine build as long as 5 single
tokens (7B shape in Q4_K_M) or 7 (SmolLM2): shorter guesses gain less, and longer ones lose more
where they are wrong. SmolLM2 copied as fast with 48, and was slower where it copied in part. From
64 tokens on llama.cpp's attention computes otherwise once more.
"""

DRAFTED_TOKENS = 15
"""By a draft model: at most that many; a batch of 8 takes as long as one of 16."""


@dataclass(frozen=True)
class SpeculativeConfig:
    """Who guesses: the draft model in the file `draft`, else what stands in the text."""

    draft: Path | None = None
