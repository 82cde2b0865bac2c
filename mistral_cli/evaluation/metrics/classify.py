"""classify: accuracy, macro-F1, and which labels are taken for which.

Macro-F1 is the mean of the F1 of each label that occurs among the known answers or the model's, as
scikit-learn's `f1_score(average="macro", zero_division=0)`. With several labels a row, accuracy is
the share of rows with exactly the known labels (`accuracy_score` of label sets).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.sinks.table import SEVERAL
from mistral_cli.evaluation.metrics.metric import (
    Breakdown,
    Figures,
    KnownExample,
    Metric,
    Sums,
    TaskMetrics,
    f1,
    mean,
)
from mistral_cli.generation.classification.strategy import ClassifyStrategy

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.generation.task import Task

_FAILED = "(failed)"
_NONE = "(none)"


class LabelMetrics(TaskMetrics):
    """Accuracy and macro-F1."""

    names = ("accuracy", "macro_f1")
    field = "label"

    def __init__(self, *, multi: bool = False) -> None:
        self._multi = multi

    def expected(self, value: Any) -> frozenset[str]:
        """A label, or several in a JSON list; with --multi a bar may separate them instead."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValueError(f"must be a label, or a JSON list of labels: {error}") from None
        elif isinstance(value, str) and self._multi:
            value = value.split(SEVERAL)
        labels = value if isinstance(value, list) else [value]
        if not all(isinstance(label, str) for label in labels):
            raise ValueError("must be a label, or a list of labels")
        return frozenset(filter(None, map(str.strip, labels)))

    def answer(self, record: Record) -> frozenset[str]:
        """The chosen labels, or what stands in their place."""
        chosen = record.get("chosen")
        if isinstance(chosen, list) and chosen:
            return frozenset(map(str, chosen))
        label = record.get("label")
        return frozenset([str(label)] if label else [])

    def figures(self, examples: Sequence[KnownExample]) -> Figures:
        """Compare the labels of each example."""
        import numpy as np

        examples = _as_offered(examples)
        answers = [each.answer or frozenset() for each in examples]
        labels = sorted({label for each in examples for label in each.expected}.union(*answers))
        rows = [
            [_outcome(label, each.expected, answer) for label in labels]
            for each, answer in zip(examples, answers, strict=True)
        ]
        statistics = np.array(rows, float).reshape(len(examples), 3 * len(labels))
        right = [
            float(each.answer is not None and each.expected == each.answer) for each in examples
        ]
        return Figures(
            (mean("accuracy", right), Metric("macro_f1", statistics, _macro_f1)),
            _confusion(examples),
        )


def metrics(task: Task) -> TaskMetrics:
    """The metrics of classify."""
    assert isinstance(task.strategy, ClassifyStrategy)
    return LabelMetrics(multi=task.strategy.options.multi)


def _as_offered(examples: Sequence[KnownExample]) -> Sequence[KnownExample]:
    """The examples with the known labels in the case in which the model chose from them."""
    labels = {label for each in examples for label in _offered(each.record)}
    offered = {label.casefold(): label for label in labels}

    def written(label: str) -> str:
        return label if label in labels else offered.get(label.casefold(), label)

    return [replace(each, expected=frozenset(map(written, each.expected))) for each in examples]


def _offered(record: Record) -> Iterator[str]:
    """The labels of a record; people edit results files."""
    labels = record.get("labels")
    for each in labels if isinstance(labels, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("name"), str):
            yield each["name"]


def _outcome(
    label: str, expected: frozenset[str], answer: frozenset[str]
) -> tuple[bool, bool, bool]:
    """Whether a label is right, wrong or missed."""
    known, chosen = label in expected, label in answer
    return known and chosen, chosen and not known, known and not chosen


def _macro_f1(sums: Sums) -> float:
    """The mean F1 of the labels that occur at all: a sample may lack one."""
    triples = [sums[start : start + 3] for start in range(0, len(sums), 3)]
    scores = [f1(*each) for each in triples if any(each)]
    return sum(scores) / len(scores) if scores else 0.0


def _confusion(examples: Sequence[KnownExample]) -> Breakdown:
    """How often each known label (the rows) got each label (the columns)."""
    pairs = Counter(
        (_name(each.expected), _FAILED if each.answer is None else _name(each.answer))
        for each in examples
    )
    known = sorted({expected for expected, _ in pairs})
    given = sorted(
        {answer for _, answer in pairs}.union(known), key=lambda name: (name[0] == "(", name)
    )
    cells = [(row, *(str(pairs[row, column]) for column in given)) for row in known]
    rows = [
        {"expected": expected, "answer": answer, "rows": number}
        for (expected, answer), number in sorted(pairs.items())
    ]
    return Breakdown("confusion", ("expected \\ answer", *given), cells, rows)


def _name(labels: frozenset[str]) -> str:
    return ", ".join(sorted(labels)) or _NONE
