"""The JSON objects of an evaluation and of its dry run, field by field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.evaluation.bootstrap import interval_of

if TYPE_CHECKING:
    from mistral_cli.batch.estimate import BatchEstimate
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.evaluation.bootstrap import Difference
    from mistral_cli.evaluation.configurations import Configuration
    from mistral_cli.evaluation.metrics.metric import Metric
    from mistral_cli.evaluation.results import Evaluated, Evaluation


def evaluation_fields(evaluation: Evaluation) -> dict[str, Any]:
    """The object of `--json`."""
    return {
        "command": f"evaluate {evaluation.task}",
        "data": str(evaluation.data),
        "rows": len(evaluation.rows),
        "signature": evaluation.signature,
        "configurations": [_evaluated_fields(each) for each in evaluation.evaluated],
        "differences": [_difference_fields(each) for each in evaluation.differences],
        "gates": [
            {
                "gate": str(each.gate),
                "configuration": each.configuration,
                "value": _finite(each.value),
                "holds": each.holds,
            }
            for each in evaluation.gates
        ],
    }


def dry_run_fields(
    task: str,
    data: Path,
    rows: Sequence[Row],
    estimates: Sequence[tuple[Configuration, BatchEstimate]],
) -> dict[str, Any]:
    """The object of `--dry-run`."""
    return {
        "command": f"evaluate {task}",
        "data": str(data),
        "rows": len(rows),
        "configurations": [
            {**_configuration_fields(configuration), **estimate.fields()}
            for configuration, estimate in estimates
        ],
    }


def _configuration_fields(configuration: Configuration) -> dict[str, Any]:
    return {
        "name": configuration.name,
        "model": configuration.model,
        "template": configuration.template,
        "results": str(configuration.results),
        "baseline": configuration.is_baseline,
    }


def _evaluated_fields(evaluated: Evaluated) -> dict[str, Any]:
    cost, breakdown = evaluated.cost, evaluated.figures.breakdown
    return {
        **_configuration_fields(evaluated.configuration),
        "rows": len(evaluated.examples),
        "failed": cost.failed,
        "metrics": {each.name: _metric_fields(each) for each in evaluated.figures.metrics},
        **({breakdown.name: [dict(row) for row in breakdown.rows]} if breakdown else {}),
        "prompt_tokens": cost.prompt_tokens,
        "completion_tokens": cost.completion_tokens,
        "seconds": cost.seconds,
        "memory": cost.memory,
    }


def _metric_fields(metric: Metric) -> dict[str, float | None]:
    interval = interval_of(metric)
    return {
        "value": _finite(metric.value),
        "low": _finite(interval.low),
        "high": _finite(interval.high),
    }


def _finite(value: float) -> float | None:
    """`value`, or None for a perplexity that no row has."""
    return value if math.isfinite(value) else None


def _difference_fields(difference: Difference) -> dict[str, Any]:
    return {
        "metric": difference.metric.name,
        "first": difference.first,
        "second": difference.second,
        "rows": difference.rows,
        "different_rows": difference.different_rows,
        "difference": difference.difference,
        "low": difference.interval.low,
        "high": difference.interval.high,
        "clear": difference.is_clear,
        "rows_needed": difference.rows_needed,
    }
