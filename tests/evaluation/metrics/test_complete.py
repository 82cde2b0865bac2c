"""Perplexity and exact match of completions."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mistral_cli.evaluation.metrics.complete import CompletionMetrics
from mistral_cli.evaluation.metrics.metric import KnownExample


def figures(*rows: tuple[str, str | None, dict[str, Any]]) -> list[float]:
    examples = [KnownExample(known, answer, record) for known, answer, record in rows]
    return [metric.value for metric in CompletionMetrics().figures(examples).metrics]


def test_perplexity_is_over_the_tokens_of_all_rows() -> None:
    two = {"known": {"logprob": math.log(0.5) + math.log(0.25), "tokens": 2}}
    one = {"known": {"logprob": math.log(0.125), "tokens": 1}}
    exact, perplexity = figures((" a b", "a  b", two), (" c", "d", one), (" e", None, {}))
    assert exact == pytest.approx(1 / 3)
    assert perplexity == pytest.approx((0.5 * 0.25 * 0.125) ** (-1 / 3))  # of three tokens


def test_perplexity_is_infinite_if_no_row_has_a_score() -> None:
    assert figures((" a", None, {}))[1] == math.inf


def test_the_known_answer_is_a_text_with_its_space() -> None:
    assert CompletionMetrics().expected(" Paris") == " Paris"
    for wrong in (3, " ", ["a"]):
        with pytest.raises(ValueError, match="must be a text"):
            CompletionMetrics().expected(wrong)
