"""The outcome of a classification: the probability of each label, and which of them are chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LabelProbability:
    """A label and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class Classification:
    """Every label with its probability, in the order of the labels.

    `chosen` are the labels of the text; with `multi` there may be several, or none. `otherwise`
    takes their place where there are none. `reason` is the sentence that `--explain` asked for.
    """

    labels: tuple[LabelProbability, ...]
    chosen: tuple[str, ...]
    multi: bool
    otherwise: str | None = None
    reason: str | None = None

    @property
    def ranked(self) -> list[LabelProbability]:
        """The labels, the likeliest first."""
        return sorted(self.labels, key=lambda each: each.probability, reverse=True)

    @property
    def label(self) -> str | None:
        """The label, or what stands in its place; None with `multi` if no label is chosen."""
        return next(iter(self.chosen), self.otherwise)

    @property
    def probability(self) -> float:
        """The probability of the label, or of the likeliest if none is chosen."""
        known = {each.name: each.probability for each in self.labels}
        return known[self.chosen[0]] if self.chosen else self.ranked[0].probability

    def text(self, top: int | None) -> str:
        """What is printed: the chosen labels, or the `top` likeliest with their probabilities."""
        if top is not None:
            lines = [f"{each.name}\t{each.probability:.4f}" for each in self.ranked[:top]]
        else:
            lines = list(self.chosen) or [self.otherwise or ""]
        return "\n".join([*lines, *([self.reason] if self.reason else [])])

    def fields(self) -> dict[str, Any]:
        """The fields of JSON objects and of batch records."""

        return {
            "label": self.label,
            "probability": _rounded(self.probability),
            "multi": self.multi,
            "chosen": list(self.chosen),
            "labels": [
                {"name": each.name, "probability": _rounded(each.probability)}
                for each in self.ranked
            ],
            "reason": self.reason,
        }


def choose(
    names: Sequence[str],
    logprobs: Sequence[float],
    *,
    multi: bool,
    threshold: float | None,
    thresholds: Mapping[str, float],
    otherwise: str | None,
) -> Classification:
    """The outcome from the log-probability of each label.

    With `multi` a label is chosen from its threshold on: `threshold`, else its own of
    `thresholds`, else 0.5. Otherwise the likeliest is chosen; only with `otherwise` must it reach
    its threshold.
    """
    labels = [
        LabelProbability(name, min(math.exp(each), 1.0))
        for name, each in zip(names, logprobs, strict=True)
    ]

    def reaches(each: LabelProbability, default: float) -> bool:
        least = thresholds.get(each.name, default) if threshold is None else threshold
        return each.probability >= least

    if multi:
        above = [each for each in labels if reaches(each, 0.5)]
        chosen = sorted(above, key=lambda each: each.probability, reverse=True)
    else:
        best = max(labels, key=lambda each: each.probability)
        chosen = [best] if otherwise is None or reaches(best, 0.0) else []
    return Classification(
        tuple(labels), tuple(each.name for each in chosen), multi, None if chosen else otherwise
    )


def _rounded(probability: float) -> float:
    return float(f"{probability:.6g}")
