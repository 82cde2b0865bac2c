"""The paired bootstrap: its intervals, and what it says of too few rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from mistral_cli.evaluation.bootstrap import Difference, difference, interval_of
from mistral_cli.evaluation.metrics.complete import CompletionMetrics
from mistral_cli.evaluation.metrics.metric import KnownExample, Metric, mean


def compared(first: Sequence[float], second: Sequence[float]) -> Difference:
    return difference(mean("accuracy", first), mean("accuracy", second), ("A", "B"))


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    generator = np.random.default_rng(7)
    values = generator.normal(10, 2, 400).tolist()
    interval, error = interval_of(mean("mean", values)), 2 / 400**0.5
    centre = sum(values) / len(values)
    assert interval.low == pytest.approx(centre - 1.96 * error, abs=0.4 * error)
    assert interval.high == pytest.approx(centre + 1.96 * error, abs=0.4 * error)


def test_the_interval_holds_the_true_difference_in_about_95_of_100_cases() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        easy = generator.random(80)
        first, second = (easy < 0.6).astype(float), (generator.random(80) < 0.7).astype(float)
        interval = compared(first.tolist(), second.tolist()).interval
        held += interval.low <= 0.1 <= interval.high
    assert 180 <= held <= 199


def test_pairs_tell_more_than_the_same_values_in_another_order() -> None:
    """On hard and easy rows, a small difference in every row is clear only if rows are paired."""
    first = [row / 40 for row in range(40)]
    second = [value + 0.02 for value in first]
    assert compared(first, second).is_clear
    assert not compared(first, second[::-1]).is_clear


def test_forty_rows_are_too_few_for_a_small_difference_and_it_says_how_many_may_do() -> None:
    first, second = [1.0] * 30 + [0.0] * 10, [1.0] * 27 + [0.0] * 3 + [1.0] * 5 + [0.0] * 5
    found = compared(first, second)
    assert found.difference == pytest.approx(0.05)
    assert found.interval.low < 0 < found.interval.high
    assert found.rows_needed is not None
    assert 200 < found.rows_needed < 1000
    assert found.verdict == (f"40 rows are too few to tell; about {found.rows_needed:,} might do")
    many = compared(first * 20, second * 20)
    assert many.is_clear
    assert many.verdict == "higher"
    assert compared(second * 20, first * 20).verdict == "lower"


def test_as_many_rows_as_it_says_are_enough_if_the_difference_stays() -> None:
    first, second = [0.0] * 10 + [1.0] * 30, [0.0] * 6 + [1.0] * 4 + [1.0] * 28 + [0.0] * 2
    found = compared(first, second)
    assert found.rows_needed is not None
    times = found.rows_needed / 40
    assert compared(first * round(1.3 * times), second * round(1.3 * times)).is_clear
    assert not compared(first * int(0.6 * times), second * int(0.6 * times)).is_clear


def test_a_few_rows_tell_nothing_even_if_all_favour_one() -> None:
    found = compared([0.0] * 5, [1.0] * 5)
    assert found.interval.low == 1
    assert not found.is_clear
    assert found.rows_needed == 6
    assert compared([0.0] * 6, [1.0] * 6).is_clear


def test_equal_answers_are_the_same_and_balanced_ones_no_difference() -> None:
    assert compared([1.0, 0.0] * 10, [1.0, 0.0] * 10).verdict == "the same in every row"
    balanced = compared([1.0, 0.0] * 10, [0.0, 1.0] * 10)
    assert balanced.rows_needed is None
    assert balanced.verdict == "no difference; 20 rows are too few to see a small one"


def test_the_samples_are_the_same_in_every_run() -> None:
    first, second = [0.0, 1.0] * 20, [1.0, 1.0, 0.0, 1.0] * 10
    assert compared(first, second).interval == compared(first, second).interval


def test_samples_without_a_perplexity_are_left_out() -> None:
    def perplexity(*logprobs: float | None) -> Metric:
        known = [{} if p is None else {"known": {"logprob": p, "tokens": 1}} for p in logprobs]
        examples = [KnownExample("a", "b", record) for record in known]
        return CompletionMetrics().figures(examples).metrics[1]

    some, every = perplexity(None, None, None, -2.0), perplexity(-1.0, -2.0, -3.0, -2.0)
    with np.errstate(all="raise"):
        found = difference(some, every, ("some", "every"))
        none = interval_of(perplexity(None, None))
    assert interval_of(some).high == pytest.approx(math.exp(2.0))
    assert found.interval.low < 0 < found.interval.high < math.inf
    assert (none.low, none.high) == (math.inf, math.inf)
