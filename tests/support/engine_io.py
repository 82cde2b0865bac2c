"""Requests to an engine, and the text of its answers."""

from __future__ import annotations

from collections.abc import Sequence

from mistral_cli.engines.protocol import Session
from mistral_cli.engines.types import Event, Sampling, TextDelta

GREEDY = Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, seed=1)


def chat(session: Session, question: str) -> tuple[int, ...]:
    """Encode `question` in SmolLM2's chat format."""
    start, end, line = 1, 2, session.tokenize("\n")
    user = [start, *session.tokenize("user"), *line, *session.tokenize(question), end, *line]
    return (*user, start, *session.tokenize("assistant"), *line)


def text(events: Sequence[Event]) -> str:
    """Join the text of the events of an answer."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))
