"""Gates: bounds that the figures of an evaluation must keep, such as `accuracy>=0.9`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.evaluation.results import Evaluated

FAILED = "failed"
"""The number of rows that failed, which a gate may bound as it does a metric."""

_GATE = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))\s*")
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_DIGITS = 9  # a quotient such as 0.1 + 0.2 must not break a gate


@dataclass(frozen=True)
class Gate:
    """A bound for a metric."""

    metric: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.bound:g}"

    def outcome(self, evaluated: Evaluated) -> GateOutcome:
        """Whether the bound holds for one configuration."""
        value = float(evaluated.cost.failed)
        if self.metric != FAILED:
            value = evaluated.metric(self.metric).value
        holds = _HOLDS[self.sign](round(value, _DIGITS), self.bound)
        return GateOutcome(self, evaluated.configuration.name, value, holds)


@dataclass(frozen=True)
class GateOutcome:
    """A gate for one configuration: the figure, and whether it keeps the bound."""

    gate: Gate
    configuration: str
    value: float
    holds: bool


def parse_gates(values: Sequence[str], metrics: Sequence[str]) -> list[Gate]:
    """The gates of the options, for the metrics of a task. Raises UsageError."""
    return [_gate(value, (*metrics, FAILED)) for value in values]


def _gate(value: str, names: Sequence[str]) -> Gate:
    match = _GATE.fullmatch(value)
    if not match:
        raise UsageError(
            f"--gate {value!r} is not a bound",
            hint=f"Write for example --gate '{names[0]}>=0.9'; the quotes keep > from the shell.",
        )
    name, sign, bound = match.groups()
    if name not in names:
        raise UsageError(
            f"--gate {value!r}: this task has no metric {name!r}",
            hint=f"It has {', '.join(names)}.",
        )
    return Gate(name, sign, float(bound))
