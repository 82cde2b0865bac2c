"""A model that reasons, over HTTP: the thought has a field of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.http_api import ServedHttp, serving

GREEDY: dict[str, Any] = {
    "model": "any",
    "messages": [{"role": "user", "content": "2 + 2?"}],
    "temperature": 0,
    "max_tokens": 20,
}


@pytest.fixture(scope="module")
def qwen3_served(qwen3: Path) -> Iterator[ServedHttp]:
    with serving(qwen3) as served:
        yield served


@pytest.fixture(scope="module")
def thinker_served(qwen3_thinker: Path) -> Iterator[ServedHttp]:
    with serving(qwen3_thinker) as served:
        yield served


def test_the_thought_is_not_in_the_content(qwen3_served: ServedHttp) -> None:
    chat = qwen3_served.openai().chat.completions
    whole = chat.create(**GREEDY, reasoning_effort="high").choices[0]
    assert whole.message.content == "The answer is four"
    assert whole.message.reasoning_content == "Hidden secret thought."  # type: ignore[attr-defined]


def test_it_streams_as_deltas_of_its_own(thinker_served: ServedHttp) -> None:
    chunks = list(thinker_served.openai().chat.completions.create(**GREEDY, stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    thought = "".join(getattr(delta, "reasoning_content", "") for delta in deltas)
    assert thought == "Hidden secret thought."
    assert "".join(delta.content or "" for delta in deltas) == "The answer is four"


def test_no_effort_means_no_thought(qwen3_served: ServedHttp) -> None:
    reply = qwen3_served.openai().chat.completions.create(**GREEDY, reasoning_effort="none")
    assert reply.choices[0].message.content == "The answer is four"
    assert not hasattr(reply.choices[0].message, "reasoning_content")
    assert reply.usage.completion_tokens_details.reasoning_tokens == 0  # type: ignore[union-attr]
