"""A metric as sums over rows, so that a bootstrap can compute it for any sample of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mistral_cli.batch.formats import Record

Sums = Sequence[float]
"""The statistics of some rows, added up."""


@dataclass(frozen=True)
class KnownExample:
    """A row with its known answer and the record of the model's answer.

    `answer` is the text, the JSON value or the labels; None if the row failed.
    """

    expected: Any
    answer: Any
    record: Record


@dataclass(frozen=True, eq=False)
class Metric:
    """A figure about all rows: `score` makes it from the sums of their statistics.

    `statistics` has a row for each example and a column for each statistic; `best` is the figure of
    perfect answers.
    """

    name: str
    statistics: NDArray[np.float64]
    score: Callable[[Sums], float]
    best: float = 1.0
    decimals: int = 3

    @property
    def value(self) -> float:
        """The figure for all rows."""
        return self.score(self.statistics.sum(axis=0).tolist())

    def format(self, value: float, *, sign: bool = False) -> str:
        """`value` with the metric's decimals, and with + before a positive one if `sign`."""
        return f"{value:{'+' if sign else ''}.{self.decimals}f}"


@dataclass(frozen=True)
class Breakdown:
    """A table about one configuration beside its figures, such as the fields one by one.

    `titles` are the columns' names, and `cells` their texts for people; `rows` are for JSON.
    """

    name: str
    titles: Sequence[str]
    cells: Sequence[Sequence[str]]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Figures:
    """What was measured on the examples of one configuration."""

    metrics: tuple[Metric, ...]
    breakdown: Breakdown | None = None


class TaskMetrics(ABC):
    """The metrics of a task."""

    names: ClassVar[tuple[str, ...]]
    """The names of the metrics, the most important first."""

    field: ClassVar[str] = "text"
    """The field of a record that the answers of this task have."""

    def check(self) -> None:  # noqa: B027 - most need nothing
        """Raise UsageError if a library is not installed."""

    @abstractmethod
    def expected(self, value: Any) -> Any:
        """The known answer that `value` stands for: a cell's text, or a JSON value.

        Raises ValueError that says what it must be.
        """

    @abstractmethod
    def answer(self, record: Record) -> Any:
        """What is compared of a record without an error."""

    @abstractmethod
    def figures(self, examples: Sequence[KnownExample]) -> Figures:
        """The metrics of the examples; each is a failure if its answer is None."""

    def signature(self) -> str:
        """How the figures were made, for people who compare them with others."""
        return ""


def mean(name: str, values: Sequence[float]) -> Metric:
    """The mean of a value of each row."""
    import numpy as np

    pairs = [(value, 1.0) for value in values]
    return Metric(name, np.array(pairs), lambda sums: ratio(sums[0], sums[1]))


def ratio(part: float, whole: float) -> float:
    """`part` / `whole`, or 0 if there is nothing, as scikit-learn's `zero_division=0`."""
    return part / whole if whole else 0.0


def f1(hits: float, wrong: float, missed: float) -> float:
    """The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
    return ratio(2 * hits, 2 * hits + wrong + missed)


def references(value: Any) -> tuple[str, ...]:
    """One reference text, or several in a JSON list. Raises ValueError."""
    import json

    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = [value]  # a text in brackets
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("must be a text, or a list of texts")
    return tuple(texts)


def same_text(expected: str, answer: str) -> bool:
    """True if two texts differ in nothing but white space."""
    return expected.split() == answer.split()
