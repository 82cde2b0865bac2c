"""The sampling that most tests use."""

from __future__ import annotations

from mistral_cli.engines.types import Sampling

GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)
