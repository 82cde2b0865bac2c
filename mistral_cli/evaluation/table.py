"""The figures of an evaluation as plain text: tables with titles, also in a pipe and in a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mistral_cli.system.controls import as_cell

if TYPE_CHECKING:
    from mistral_cli.evaluation.bootstrap import Difference
    from mistral_cli.evaluation.results import Evaluated, Evaluation

_GAP = "  "


def evaluation_lines(evaluation: Evaluation) -> Iterator[str]:
    """The table, the differences, the parts of each configuration, and the gates."""
    yield from aligned(*figures_table(evaluation))
    if evaluation.differences:
        yield ""
        yield from aligned(*differences_table(evaluation.differences))
    for each in evaluation.evaluated:
        breakdown = each.figures.breakdown
        if breakdown and breakdown.cells:
            yield ""
            yield f"{as_cell(each.configuration.name)}: {breakdown.name}"
            yield from aligned(breakdown.titles, breakdown.cells)
    if evaluation.gates:
        yield ""
    for outcome in evaluation.gates:
        holds = "holds" if outcome.holds else "does not hold"
        name = as_cell(outcome.configuration)
        yield f"gate {outcome.gate} {holds} for {name}: {outcome.value:.4g}"


def figures_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """A line for each configuration: its metrics, and what they cost."""
    names = [each.name for each in evaluation.evaluated[0].figures.metrics]
    titles = ["configuration", *map(_title, names), "rows", "failed", "tokens", "s/row", "GiB"]
    return titles, [_figures(each) for each in evaluation.evaluated]


def differences_table(differences: Sequence[Difference]) -> tuple[list[str], list[list[str]]]:
    """A line for each metric of each configuration that is compared with the first."""
    titles = ["compared", "metric", "difference", "95 % interval", "verdict"]
    rows = []
    for each in differences:
        low, high = each.interval.low, each.interval.high
        shown = each.metric.format
        rows.append(
            [
                f"{each.second} - {each.first}",
                _title(each.metric.name),
                shown(each.difference, sign=True),
                f"{shown(low, sign=True)} to {shown(high, sign=True)}",
                each.verdict,
            ]
        )
    return titles, rows


def aligned(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with columns as wide as their longest cell; columns of numbers end at the right."""
    from rich.cells import cell_len

    lines = [list(titles), *([as_cell(cell) for cell in row] for row in rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    numbers = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    for line in lines:
        padded = (
            " " * (width - cell_len(cell)) + cell
            if is_number
            else cell + " " * (width - cell_len(cell))
            for cell, width, is_number in zip(line, widths, numbers, strict=True)
        )
        yield _GAP.join(padded).rstrip()


def _figures(evaluated: Evaluated) -> list[str]:
    cost, per_row = evaluated.cost, evaluated.seconds_per_row
    return [
        evaluated.configuration.name,
        *(metric.format(metric.value) for metric in evaluated.figures.metrics),
        f"{len(evaluated.examples):,}",
        f"{cost.failed:,}",
        f"{cost.prompt_tokens + cost.completion_tokens:,}",
        "-" if per_row is None else f"{per_row:.2f}",
        "-" if cost.memory is None else f"{cost.memory / 2**30:.2f}",
    ]


_TITLES = {
    "exact_match": "exact",
    "f1": "F1",
    "macro_f1": "macro-F1",
    "chrf": "chrF",
    "bleu": "BLEU",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
}


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.lstrip("+-").replace(",", "").replace(".", "").isdigit()
