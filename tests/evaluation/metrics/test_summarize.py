"""ROUGE as rouge_score computes it, also in scripts without spaces; the checks that held."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from mistral_cli.evaluation.metrics.metric import KnownExample
from mistral_cli.evaluation.metrics.rouge import words_of
from mistral_cli.evaluation.metrics.summarize import SummaryMetrics

TEXT = st.lists(
    st.sampled_from(["the", "a", "cat", "ran,", "on", "mat.", "3.5", "it's", "well-known", "x_y"]),
    max_size=15,
).map(" ".join)
SCORER = RougeScorer(["rouge1", "rouge2", "rougeL"])


def scores(expected: tuple[str, ...], answer: str | None, record: Any = None) -> list[float]:
    found = SummaryMetrics().figures([KnownExample(expected, answer, record or {})])
    return [metric.value for metric in found.metrics]


@given(TEXT, TEXT)
def test_rouge_equals_rouge_score(expected: str, answer: str) -> None:
    theirs = SCORER.score(expected, answer)
    ours = scores((expected,), answer)[:3]
    assert ours == pytest.approx([theirs[name].fmeasure for name in SCORER.rouge_types])


@given(st.lists(TEXT, min_size=1, max_size=3), TEXT)
def test_the_reference_that_is_most_similar_counts(expected: list[str], answer: str) -> None:
    theirs = SCORER.score_multi(expected, answer)
    ours = scores(tuple(expected), answer)[:3]
    assert ours == pytest.approx([theirs[name].fmeasure for name in SCORER.rouge_types])


def test_words_are_found_in_every_script() -> None:
    assert words_of("Die Ärztin, 3,5 Jahre") == ["die", "ärztin", "3", "5", "jahre"]
    assert words_of("他喝咖啡 2 cups") == ["他", "喝", "咖", "啡", "2", "cups"]
    assert words_of("हिन्दी में") == ["हिन्दी", "में"]
    assert scores(("他喝咖啡",), "他喝茶")[0] > 0.5


def test_the_checks_that_held_are_counted() -> None:
    def record(**checks: bool) -> dict[str, Any]:
        return {"checks": [{"name": name, "ok": ok} for name, ok in checks.items()]}

    examples = [
        KnownExample(("a",), "a", record(numbers=True, names=True)),
        KnownExample(("a",), "a", record(numbers=False, names=True)),
        KnownExample(("a",), None, record(numbers=False)),
        KnownExample(("a",), "b", {}),
    ]
    found = SummaryMetrics().figures(examples)
    assert {each.name: each.value for each in found.metrics}["checks"] == 0.5
    assert found.breakdown is not None
    assert found.breakdown.rows == [
        {"check": "numbers", "answers": 3, "held": 1},
        {"check": "names", "answers": 2, "held": 2},
    ]
