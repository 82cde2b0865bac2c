"""What a labelled table teaches: a temperature, and a threshold for each label; kept as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral_cli.errors import MistralCliError, UsageError, first_line
from mistral_cli.generation.classification.probabilities import (
    Distribution,
    best_temperature,
    best_threshold,
    expected_calibration_error,
    with_temperature,
)
from mistral_cli.system.files import write_atomically

_VERSION = 1
_HINT = "Name a CSV file with the columns text and label, or what --save-calibration wrote."


@dataclass(frozen=True)
class Calibration:
    """A `temperature`, and the `thresholds` by label.

    `labels` are the labels in their order, and `multi` says whether each of them was a question of
    its own. `model` is the model that it is for.
    """

    labels: tuple[str, ...]
    multi: bool
    model: str
    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """The JSON object that `save` writes."""
        return {
            "schema_version": _VERSION,
            "labels": list(self.labels),
            "multi": self.multi,
            "model": self.model,
            "temperature": self.temperature,
            "thresholds": dict(self.thresholds),
        }

    def save(self, path: Path) -> None:
        """Write the file. Raises MistralCliError."""
        content = json.dumps(self.fields(), ensure_ascii=False, indent=2) + "\n"
        try:
            write_atomically(path, content.encode())
        except OSError as error:
            raise MistralCliError(
                f"cannot write the calibration to {path}: {error.strerror or error}",
                hint="Choose another --save-calibration.",
            ) from error


@dataclass(frozen=True)
class Learned:
    """A calibration, and the expected calibration error before and after it on its own rows."""

    calibration: Calibration
    before: float
    after: float
    accuracy: float


@dataclass(frozen=True)
class LabelledScore:
    """The distributions for one text, and the right label of each, as an index.

    There is one distribution over all labels, or one over yes and no for each label. None stands
    for a text that has none of the labels.
    """

    distributions: tuple[Distribution, ...]
    right: tuple[int | None, ...]


def learn(
    rows: Sequence[LabelledScore], labels: Sequence[str], *, multi: bool, model: str
) -> Learned:
    """Learn from scored texts. Raises UsageError if no text has a label."""
    pairs = [
        (distribution, right)
        for row in rows
        for distribution, right in zip(row.distributions, row.right, strict=True)
        if right is not None
    ]
    if not pairs:
        raise UsageError("no text has one of the labels", hint=_HINT)
    temperature = best_temperature(pairs)
    thresholds: dict[str, float] = {}
    for index, label in enumerate(labels):
        scored = [_probability(row, index, temperature, multi=multi) for row in rows]
        if (threshold := best_threshold(scored)) is not None:
            thresholds[label] = round(threshold, 6)
    before = [_answered(distribution, right, 1.0) for distribution, right in pairs]
    after = [_answered(distribution, right, temperature) for distribution, right in pairs]
    return Learned(
        Calibration(tuple(labels), multi, model, round(temperature, 6), thresholds),
        expected_calibration_error(before),
        expected_calibration_error(after),
        sum(right for _, right in after) / len(after),
    )


def _probability(
    row: LabelledScore, label: int, temperature: float, *, multi: bool
) -> tuple[float, bool]:
    """The probability that a text has the label, and whether it has it."""
    number, option = (label, 0) if multi else (0, label)
    values = with_temperature(row.distributions[number], temperature)
    return math.exp(values[option]), row.right[number] == option


def _answered(distribution: Distribution, right: int, temperature: float) -> tuple[float, bool]:
    values = with_temperature(distribution, temperature)
    best = max(range(len(values)), key=values.__getitem__)
    return math.exp(values[best]), best == right


def read_calibration(path: Path) -> Calibration:
    """Read what `Calibration.save` wrote. Raises UsageError."""
    try:
        value = json.loads(path.read_bytes())
        if value["schema_version"] != _VERSION:
            raise UsageError(f"{path} is of another version of mistral-cli", hint=_HINT)
        calibration = Calibration(
            tuple(map(str, value["labels"])),
            bool(value["multi"]),
            str(value["model"]),
            float(value["temperature"]),
            {str(label): float(each) for label, each in value["thresholds"].items()},
        )
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", hint=_HINT) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is not a calibration: {first_line(error)}", hint=_HINT) from error
    if not 0 < calibration.temperature < math.inf:
        raise UsageError(f"{path} has no usable temperature", hint=_HINT)
    return calibration
