"""An evaluation as one self-contained HTML page: tables, and the rows whose answers differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.evaluation.table import differences_table, figures_table
from mistral_cli.system.controls import without_controls
from mistral_cli.system.html.page import check_page, render, write_page

if TYPE_CHECKING:
    from mistral_cli.evaluation.metrics.metric import KnownExample
    from mistral_cli.evaluation.results import Evaluated, Evaluation

_GENERATOR = "mistral-cli evaluate"
_OPTION = "--report"
_MAX_TEXT, _MIN_TEXT = 3000, 200  # characters of one text
_ALL_TEXTS = 8_000_000  # characters in total, so that a browser can still open the page
_SAME = 1e-9


@dataclass(frozen=True)
class ShownAnswer:
    """The answer of one configuration for a row: its text and its score in the first metric."""

    configuration: str
    text: str
    score: str
    failed: bool


@dataclass(frozen=True)
class ShownRow:
    """A row: its text, the known answer, and the answers beside each other."""

    id: str
    text: str
    expected: str
    answers: Sequence[ShownAnswer]


def check_report(path: Path, data: Path, baseline: Path | None) -> None:
    """Raise UsageError if the page would overwrite another file."""
    check_page(path, _OPTION, _GENERATOR, {"the data": data, "--baseline": baseline})


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page to `path`. Raises MistralCliError."""
    evaluated = evaluation.evaluated
    rows = shown_rows(evaluation)
    facts = {
        "Task": evaluation.task,
        "Data": str(evaluation.data),
        "Rows": f"{len(evaluation.rows):,}",
        **({"Metrics": evaluation.signature} if evaluation.signature else {}),
    }
    page = render(
        Path(__file__).parent,
        _GENERATOR,
        task=evaluation.task,
        facts=facts,
        figures=figures_table(evaluation),
        differences=differences_table(evaluation.differences) if evaluation.differences else None,
        breakdowns=[
            (each.configuration.name, each.figures.breakdown)
            for each in evaluation.evaluated
            if each.figures.breakdown and each.figures.breakdown.cells
        ],
        gates=evaluation.gates,
        rows=rows,
        several=len(evaluated) > 1,
        names=[each.configuration.name for each in evaluated],
        metric=evaluated[0].figures.metrics[0].name,
    )
    write_page(path, page, _OPTION)


def shown_rows(evaluation: Evaluation) -> list[ShownRow]:
    """The rows whose scores differ most first; of one configuration, the worst rows first.

    Rows with the same answer from all configurations are left out, or with a perfect one from the
    only configuration.
    """
    evaluated = evaluation.evaluated
    limit = max(_MIN_TEXT, min(_MAX_TEXT, _ALL_TEXTS // (3 * max(len(evaluation.rows), 1))))
    scores = [_scores(each) for each in evaluated]
    best = evaluated[0].figures.metrics[0].best
    ranked: list[tuple[float, ShownRow]] = []
    for row in evaluation.rows:
        examples = [each.examples.get(row.id) for each in evaluated]
        values = [score[row.id] for score in scores if row.id in score]
        if len(evaluated) == 1:
            rank = best - values[0]
            differ = rank > _SAME
        else:
            rank = max(values) - min(values)
            differ = len({_compared(each) for each in examples}) > 1
        if differ:
            answers = [
                _answer(each, example, score.get(row.id), limit)
                for each, example, score in zip(evaluated, examples, scores, strict=True)
            ]
            expected = next(each.expected for each in examples if each)
            shown = ShownRow(row.id, _cut(row.text, limit), _cut(_text(expected), limit), answers)
            ranked.append((rank, shown))
    ranked.sort(key=lambda pair: pair[0], reverse=True)
    return [row for _, row in ranked]


def _scores(evaluated: Evaluated) -> dict[str, float]:
    """The first metric of each row by its id."""
    metric = evaluated.figures.metrics[0]
    scores = (metric.score(row) for row in metric.statistics.tolist())
    return dict(zip(evaluated.examples, scores, strict=True))


def _compared(example: KnownExample | None) -> str:
    return "" if example is None else _text(example.answer)


def _answer(
    evaluated: Evaluated, example: KnownExample | None, score: float | None, limit: int
) -> ShownAnswer:
    metric = evaluated.figures.metrics[0]
    error = example.record["error"] if example else None
    message = error.get("message") if isinstance(error, dict) else ""
    text = str(message) if error else _text(example.answer if example else None)
    shown = "" if score is None else metric.format(score)
    return ShownAnswer(evaluated.configuration.name, _cut(text, limit), shown, error is not None)


def _text(value: Any) -> str:
    """An answer, or what was expected, for people to read."""
    if value is None:
        return ""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, tuple):
        return "\n— or —\n".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _cut(text: str, limit: int) -> str:
    text = without_controls(text)
    return text if len(text) <= limit else text[:limit] + " …"
