"""complete: exact match, and the perplexity of the known continuation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mistral_cli.evaluation.metrics.metric import (
    Figures,
    KnownExample,
    Metric,
    Sums,
    TaskMetrics,
    mean,
    same_text,
)

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.generation.task import Task


class CompletionMetrics(TaskMetrics):
    """Exact match but for white space, and perplexity.

    The perplexity is exp(-sum of log-probabilities / number of tokens) over the known continuations
    of all rows. It depends on the vocabulary: compare models of one family with it.
    """

    names = ("exact_match", "perplexity")

    def expected(self, value: Any) -> str:
        """What continues the text, with the space before it."""
        if not isinstance(value, str) or not value.strip():
            raise ValueError("must be a text")
        return value

    def answer(self, record: Record) -> Any:
        """The completion."""
        return record.get("text")

    def figures(self, examples: Sequence[KnownExample]) -> Figures:
        """Compare the completions; rows without a score do not count in the perplexity.

        It is infinite if no row has one.
        """
        import numpy as np

        exact = [
            float(each.answer is not None and same_text(each.expected, each.answer))
            for each in examples
        ]
        scores = np.array([_score(each.record) for each in examples], float)
        perplexity = Metric("perplexity", scores, _perplexity, decimals=2)
        return Figures((mean("exact_match", exact), perplexity))


def metrics(task: Task) -> TaskMetrics:  # noqa: ARG001
    """The metrics of complete."""
    return CompletionMetrics()


def _score(record: Record) -> tuple[float, float]:
    """The log-probability and the number of tokens."""
    known = record.get("known")
    return (known["logprob"], known["tokens"]) if isinstance(known, Mapping) else (0.0, 0.0)


def _perplexity(sums: Sums) -> float:
    logprob, tokens = sums
    return math.exp(-logprob / tokens) if tokens else math.inf
