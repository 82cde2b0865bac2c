"""Corrections, temperatures, thresholds and errors of probabilities."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.generation.classification.probabilities import (
    averaged,
    best_temperature,
    best_threshold,
    corrected,
    expected_calibration_error,
    log_sum,
    normalized,
    with_temperature,
)

LOGPROBS = st.lists(st.floats(-50, 0), min_size=2, max_size=6)


def probabilities(values: list[float]) -> list[float]:
    return [math.exp(each) for each in values]


def logs(*values: float) -> list[float]:
    return [math.log(each) for each in values]


@given(LOGPROBS)
def test_probabilities_add_up_to_one(values: list[float]) -> None:
    assert sum(probabilities(normalized(values))) == pytest.approx(1)


def test_a_sum_of_tiny_probabilities_keeps_its_digits() -> None:
    assert log_sum([-1000.0, -1000.0]) == pytest.approx(-1000 + math.log(2))


def test_a_prior_is_divided_out() -> None:
    result = corrected(logs(0.6, 0.4), logs(0.75, 0.25))
    assert probabilities(result) == pytest.approx([1 / 3, 2 / 3])
    assert probabilities(corrected(logs(0.3, 0.2), None)) == pytest.approx([0.6, 0.4])


def test_chunks_count_by_their_weight() -> None:
    one, other = logs(0.9, 0.1), logs(0.1, 0.9)
    assert probabilities(averaged([one, other], [1, 1])) == pytest.approx([0.5, 0.5])
    heavy = probabilities(averaged([one, other], [3, 1]))
    assert heavy[0] == pytest.approx(0.75)  # the logits are ±ln 9, and their mean is half of ln 9


def test_a_temperature_above_one_flattens() -> None:
    assert probabilities(with_temperature(logs(0.8, 0.2), 2.0)) == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    chance = random.Random(1)
    rows = []
    for _ in range(4000):
        values = normalized([chance.uniform(-6, 0) for _ in range(3)])
        weights = probabilities(with_temperature(values, true))
        rows.append((values, chance.choices(range(3), weights)[0]))
    assert best_temperature(rows) == pytest.approx(true, rel=0.1)


def test_a_temperature_lowers_the_calibration_error() -> None:
    chance = random.Random(2)
    rows = []
    for _ in range(2000):
        values = normalized([chance.uniform(-9, 0) for _ in range(3)])
        weights = probabilities(with_temperature(values, 4.0))
        rows.append((values, chance.choices(range(3), weights)[0]))

    def error(temperature: float) -> float:
        pairs = []
        for values, right in rows:
            scaled = with_temperature(values, temperature)
            best = max(range(3), key=scaled.__getitem__)
            pairs.append((math.exp(scaled[best]), best == right))
        return expected_calibration_error(pairs)

    assert error(best_temperature(rows)) < 0.05 < 0.2 < error(1.0)


def test_probabilities_that_are_always_right_have_no_error() -> None:
    assert expected_calibration_error([(1.0, True)] * 3 + [(0.0, False)]) == 0
    assert expected_calibration_error([(0.8, True)] * 4 + [(0.8, False)]) == pytest.approx(0)
    assert expected_calibration_error([(0.9, False), (0.1, True)]) == pytest.approx(0.9)


def test_the_threshold_separates_the_rows_that_have_the_label() -> None:
    rows = [(0.9, True), (0.7, True), (0.4, False), (0.3, False)]
    assert best_threshold(rows) == pytest.approx(0.55)
    assert best_threshold([(0.2, True), (0.2, True), (0.1, False)]) == pytest.approx(0.15)
    assert best_threshold([(0.2, False)]) is None
    assert best_threshold([(0.5, True)]) == pytest.approx(0.25)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_no_other_threshold_has_a_better_f1(rows: list[tuple[float, bool]]) -> None:
    threshold = best_threshold(rows)
    if threshold is None:
        assert not any(has for _, has in rows)
        return

    def f1(least: float) -> float:
        chosen = [has for probability, has in rows if probability >= least]
        return 2 * sum(chosen) / (len(chosen) + sum(has for _, has in rows))

    others = [f1(probability) for probability, _ in rows]
    assert f1(threshold) >= max(others) - 1e-9
