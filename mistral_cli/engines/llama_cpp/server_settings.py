"""The settings of a llama.cpp server, whichever way it is started."""

from __future__ import annotations

NGRAM_MATCH = 8
"""Prompt lookup: the last tokens that must have occurred before. With 12, fewer are found."""

NGRAM_DRAFT = 24
"""Prompt lookup: the most tokens to propose, at least `NGRAM_MATCH`.

They are checked in one batch. On 2 cores a batch of 16 takes the machine build as long as 5 single
tokens (a model with Mistral 7B's dimensions in Q4_K_M) or 7 (SmolLM2): shorter proposals gain less,
and longer ones lose more where they are wrong. SmolLM2 copied as fast with 48, and was slower where
it copied in part. From 64 tokens on llama.cpp's attention rounds differently once more.
"""

DRAFTED_TOKENS = 15
"""The most tokens that a draft model proposes; a batch of 8 takes as long as one of 16."""
