"""How certain figures and their differences are: the paired bootstrap over rows.

Koehn 2004, "Statistical significance tests for machine translation evaluation"
(https://aclanthology.org/W04-3250): draw as many rows as there are, with repetition, and compute
the figure of both configurations on the same rows; after many such samples, 95 % of the differences
are in the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mistral_cli.evaluation.metrics.metric import Metric

SAMPLES = 2000
_SEED = 12345
_PERCENTILES = (2.5, 97.5)
_BLOCK = 2_000_000  # counts that are in memory at once
_REMEMBERED = 256  # metrics whose samples are kept: each has an interval, and differences

# The interval of a few rows is too narrow: of three rows that are all better, every sample is. Five
# rows that all favour one of two equal configurations are chance in 2 of 32 cases, six in 2 of 64,
# which is below 5 %.
_FEWEST_DIFFERENT_ROWS = 6
_SAME = 1e-12
_DEVIATIONS = 1.96  # on either side, for 95 % of a normal distribution


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of a figure."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How far `second` is above `first` in a metric, and whether the rows are enough to tell.

    `spread` is the standard deviation of the samples' differences, and `different_rows` the number
    of rows in which they differ at all.
    """

    metric: Metric
    first: str
    second: str
    rows: int
    difference: float
    interval: Interval
    spread: float
    different_rows: int

    @property
    def is_clear(self) -> bool:
        """True if the interval leaves out 0, and enough rows differ for it to mean that."""
        outside = self.interval.low > 0 or self.interval.high < 0
        return outside and self.different_rows >= _FEWEST_DIFFERENT_ROWS

    @property
    def rows_needed(self) -> int | None:
        """About how many rows would tell, if the difference stays; None if it is 0 or clear.

        The spread falls with the square root of the number of rows. It says more than the bounds,
        which have few different values if few rows differ.
        """
        if self.is_clear or abs(self.difference) < _SAME:
            return None
        needed = self.rows * (_DEVIATIONS * self.spread / self.difference) ** 2
        needed = max(needed, self.rows * _FEWEST_DIFFERENT_ROWS / max(self.different_rows, 1))
        return _two_digits(max(needed, self.rows + 1))

    @property
    def verdict(self) -> str:
        """What a person can conclude."""
        if self.is_clear:
            return "higher" if self.difference > 0 else "lower"
        rows = "1 row is" if self.rows == 1 else f"{self.rows:,} rows are"
        if self.rows_needed is None:
            if not self.different_rows:
                return "the same in every row"
            return f"no difference; {rows} too few to see a small one"
        return f"{rows} too few to tell; about {self.rows_needed:,} might do"


def interval_of(metric: Metric) -> Interval:
    """The 95 % interval of a metric."""
    return _bounds(_finite(_sampled(metric)))


def difference(first: Metric, second: Metric, names: tuple[str, str]) -> Difference:
    """The difference of the same metric on the same rows: `second` - `first`."""
    import numpy as np

    rows = len(first.statistics)
    assert rows == len(second.statistics)
    with np.errstate(invalid="ignore"):  # the difference of two infinite figures
        samples = _finite(_sampled(second) - _sampled(first))
    return Difference(
        second,
        *names,
        rows=rows,
        difference=second.value - first.value,
        interval=_bounds(samples),
        spread=float(samples.std()) if len(samples) else 0.0,
        different_rows=_different_rows(first, second),
    )


def _finite(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """The samples that have a figure: if rows failed, one may have no token for a perplexity."""
    import numpy as np

    finite: NDArray[np.float64] = samples[np.isfinite(samples)]
    return finite


def _bounds(samples: NDArray[np.float64]) -> Interval:
    """The interval of finite samples; infinite if there are none."""
    import numpy as np

    if not len(samples):
        return Interval(math.inf, math.inf)
    low, high = np.percentile(samples, _PERCENTILES)
    return Interval(float(low), float(high))


def _different_rows(first: Metric, second: Metric) -> int:
    """In how many rows the metric of two configurations comes from other counts.

    A row's score alone does not tell: that of BLEU is 0 for most short texts.
    """
    import numpy as np

    if first.statistics.shape == second.statistics.shape:
        return int(np.any(np.abs(first.statistics - second.statistics) > _SAME, axis=1).sum())
    # Macro-F1, if a label occurs in the answers of only one.
    pairs = zip(first.statistics.tolist(), second.statistics.tolist(), strict=True)
    return sum(abs(first.score(one) - second.score(other)) > _SAME for one, other in pairs)


@lru_cache(maxsize=_REMEMBERED)
def _sampled(metric: Metric) -> NDArray[np.float64]:
    """The metric of each sample; the samples are the same for all metrics of as many rows."""
    import numpy as np

    scores = [
        metric.score(sums)
        for counts in _samples(len(metric.statistics))
        for sums in (counts @ metric.statistics).tolist()
    ]
    return np.array(scores)


def _samples(rows: int) -> Iterator[NDArray[np.float64]]:
    """Blocks of samples: how often each row is in each."""
    import numpy as np

    generator = np.random.default_rng(_SEED)
    block = max(_BLOCK // rows, 1)
    for start in range(0, SAMPLES, block):
        # `multinomial` draws such counts too: for 10,000 rows in 3.4 s instead of 0.6 s.
        counts = [
            np.bincount(generator.integers(rows, size=rows), minlength=rows)
            for _ in range(min(block, SAMPLES - start))
        ]
        yield np.array(counts, float)


def _two_digits(number: float) -> int:
    """`number` rounded up to two digits: it is an estimate."""
    step: int = 10 ** max(math.floor(math.log10(number)) - 1, 0)
    return math.ceil(number / step) * step
