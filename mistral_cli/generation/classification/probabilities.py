"""Log-probabilities → probabilities: corrected by a prior, averaged, calibrated, and judged.

Pure functions over numbers. A distribution is a list of log-probabilities, one for each label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Distribution = Sequence[float]

_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 0.05, 20.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 40  # each takes 0.62 of the interval: 40 leave 4e-9 of it
_FLOOR = math.log(1e-12)  # of a probability in a loss, so that one row cannot make it infinite


def log_sum(values: Sequence[float]) -> float:
    """The logarithm of the sum of the exponentials."""
    most = max(values)
    return most + math.log(sum(math.exp(each - most) for each in values))


def normalized(values: Distribution) -> list[float]:
    """The distribution whose probabilities add up to 1."""
    total = log_sum(values)
    return [each - total for each in values]


def corrected(values: Distribution, prior: Distribution | None) -> list[float]:
    """The distribution after division by `prior` (contextual calibration, Zhao et al. 2021)."""
    if prior is None:
        return normalized(values)
    return normalized([each - bias for each, bias in zip(values, prior, strict=True)])


def averaged(distributions: Sequence[Distribution], weights: Sequence[float]) -> list[float]:
    """The weighted geometric mean of distributions."""
    total = sum(weights)
    columns = zip(*distributions, strict=True)
    return normalized(
        [
            sum(weight * each for weight, each in zip(weights, column, strict=True)) / total
            for column in columns
        ]
    )


def with_temperature(values: Distribution, temperature: float) -> list[float]:
    """The distribution with all log-probabilities divided by `temperature`."""
    return normalized([each / temperature for each in values])


def best_temperature(rows: Sequence[tuple[Distribution, int]]) -> float:
    """The temperature with the least mean negative log-likelihood of the right labels.

    Each row is a distribution and the index of the right label (Guo et al. 2017). The loss is
    convex in the inverse of the temperature, so a golden-section search finds its minimum.
    """

    def loss(inverse: float) -> float:
        return -sum(
            max(with_temperature(values, 1 / inverse)[right], _FLOOR) for values, right in rows
        )

    return 1 / _minimum(loss, 1 / _MOST_TEMPERATURE, 1 / _LEAST_TEMPERATURE)


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_inner, at_outer = function(inner), function(outer)
    for _ in range(_STEPS):
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - _GOLDEN * (high - low)
            at_inner = function(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + _GOLDEN * (high - low)
            at_outer = function(outer)
    return (low + high) / 2


def best_threshold(scored: Sequence[tuple[float, bool]]) -> float | None:
    """The threshold with the best F1, or None if no row has the label.

    Each row is the probability of a label and whether the text has it. The threshold lies in the
    middle between two probabilities that occur.
    """
    positives = sum(has for _, has in scored)
    if not positives:
        return None
    ranked = sorted(scored, reverse=True)
    best, threshold, hits = -1.0, 0.5, 0
    for count, (probability, has) in enumerate(ranked, start=1):
        hits += has
        following = ranked[count][0] if count < len(ranked) else 0.0
        f1 = 2 * hits / (count + positives)
        if following < probability and f1 > best:
            best, threshold = f1, (probability + following) / 2
    return threshold


def expected_calibration_error(rows: Sequence[tuple[float, bool]], bins: int = 10) -> float:
    """How far probabilities are from how often they are right, averaged over equal bins.

    Each row is the probability of what was answered and whether it was right (Naeini et al. 2015).
    """
    error = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [row for row in rows if low < row[0] <= high or (number == 0 and row[0] == 0)]
        if inside:
            confidence = sum(probability for probability, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            error += len(inside) / len(rows) * abs(confidence - accuracy)
    return error
