"""summarize: ROUGE-1, ROUGE-2 and ROUGE-L, and the checks that held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.checks import failed_checks
from mistral_cli.evaluation.metrics.metric import (
    Breakdown,
    Figures,
    KnownExample,
    TaskMetrics,
    mean,
    ratio,
    references,
)
from mistral_cli.evaluation.metrics.rouge import rouge_l, rouge_n, words_of

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.generation.task import Task

_NO_ROUGE = (0.0, 0.0, 0.0)


class SummaryMetrics(TaskMetrics):
    """The mean ROUGE of the rows, and the share of rows whose checks all held."""

    names = ("rouge_1", "rouge_2", "rouge_l", "checks")

    def expected(self, value: Any) -> tuple[str, ...]:
        """A summary, or several in a JSON list: the most similar one counts."""
        return references(value)

    def answer(self, record: Record) -> Any:
        """The summary."""
        return record.get("text")

    def figures(self, examples: Sequence[KnownExample]) -> Figures:
        """Compare the summaries, and count the checks."""
        scores = [_rouge(each) for each in examples]
        columns = list(zip(*scores, strict=True))
        held = [
            float(each.answer is not None and not failed_checks(each.record)) for each in examples
        ]
        return Figures(
            (
                mean("rouge_1", columns[0]),
                mean("rouge_2", columns[1]),
                mean("rouge_l", columns[2]),
                mean("checks", held),
            ),
            _checks(examples),
        )


def metrics(task: Task) -> TaskMetrics:  # noqa: ARG001
    """The metrics of summarize."""
    return SummaryMetrics()


def _rouge(example: KnownExample) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L, each with the reference for which it is highest."""
    if example.answer is None:
        return _NO_ROUGE
    words = words_of(example.answer)
    known = [words_of(text) for text in example.expected]
    return (
        max(rouge_n(each, words, 1) for each in known),
        max(rouge_n(each, words, 2) for each in known),
        max(rouge_l(each, words) for each in known),
    )


def _checks(examples: Sequence[KnownExample]) -> Breakdown:
    """For each check: of how many answers it was made, and for how many it held."""
    made, held = Counter[str](), Counter[str]()
    for each in examples:
        for check in each.record.get("checks") or ():
            if isinstance(check, Mapping) and isinstance(check.get("name"), str):
                made[check["name"]] += 1
                held[check["name"]] += check.get("ok") is True
    rows = [{"check": name, "answers": made[name], "held": held[name]} for name in made]
    cells = [(name, f"{ratio(held[name], made[name]):.3f}", f"{made[name]:,}") for name in made]
    return Breakdown("checks", ("check", "held", "answers"), cells, rows)
