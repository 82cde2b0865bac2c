"""What an evaluation found: the figures of each configuration, and their differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mistral_cli.batch.report.table import count, quantity, timings_of
from mistral_cli.evaluation.bootstrap import Difference, difference

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.evaluation.configurations import Configuration
    from mistral_cli.evaluation.gates import GateOutcome
    from mistral_cli.evaluation.metrics.metric import Figures, KnownExample, Metric


@dataclass(frozen=True)
class Cost:
    """What the answers of a configuration cost.

    `seconds` is the time that the rows took one after another, or several at once in slots, without
    the load of the model; `memory` the peak of the engine's process in bytes. Either is None if no
    record has it.
    """

    failed: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float | None
    memory: int | None

    @classmethod
    def of(cls, records: Sequence[Record], everything: Iterable[Record]) -> Self:
        """Add up the records, which are some of `everything` in a results file.

        Rows of one run share its time: those that were answered in slots at once took no longer
        together than one of them.
        """
        peaks = [peak for each in records if (peak := count(each.get("memory"))) is not None]
        return cls(
            failed=sum(record["error"] is not None for record in records),
            prompt_tokens=sum(count(each.get("prompt_tokens")) or 0 for each in records),
            completion_tokens=sum(count(each.get("completion_tokens")) or 0 for each in records),
            seconds=_seconds(records, everything),
            memory=max(peaks, default=None),
        )


def _seconds(records: Iterable[Record], everything: Iterable[Record]) -> float | None:
    """The seconds of the rows' runs, shared equally by the rows of each run."""
    finished: dict[float, list[float]] = {}
    for began, seconds in filter(None, map(_clock, everything)):
        finished.setdefault(began, []).append(seconds)
    shares = {began: max(each) / len(each) for began, each in finished.items()}
    runs = [began for began, _ in filter(None, map(_clock, records))]
    return sum(shares.get(began, 0.0) for began in runs) if runs else None


def _clock(record: Record) -> tuple[float, float] | None:
    """When the run of a record began, and how many seconds later it was finished."""
    timings = timings_of(record)
    seconds = quantity(timings.get("finished_at"))
    return None if seconds is None else (quantity(timings.get("run_began_at")) or 0.0, seconds)


@dataclass(frozen=True)
class Evaluated:
    """One configuration with its examples, by the ids of their rows, and its figures."""

    configuration: Configuration
    examples: Mapping[str, KnownExample]
    figures: Figures
    cost: Cost

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(each for each in self.figures.metrics if each.name == name)

    @property
    def seconds_per_row(self) -> float | None:
        """The seconds that a row took on average."""
        seconds = self.cost.seconds
        return None if seconds is None else seconds / max(len(self.examples), 1)


@dataclass(frozen=True)
class Evaluation:
    """All that is printed: the configurations, a baseline first, and what was compared."""

    task: str
    data: Path
    rows: Sequence[Row]
    evaluated: Sequence[Evaluated]
    differences: Sequence[Difference]
    gates: Sequence[GateOutcome]
    signature: str


def differences(
    evaluated: Sequence[Evaluated], on_shared_rows: Iterable[tuple[Figures, Figures]]
) -> list[Difference]:
    """Every metric of each configuration against the first one, on the rows that both have.

    `on_shared_rows` has the figures of the first and of each other one, on those rows.
    """
    if len(evaluated) < 2:
        return []
    first = evaluated[0].configuration.name
    return [
        difference(one, other, (first, second.configuration.name))
        for second, (before, after) in zip(evaluated[1:], on_shared_rows, strict=True)
        for one, other in zip(before.metrics, after.metrics, strict=True)
        if math.isfinite(one.value) and math.isfinite(other.value)
    ]
