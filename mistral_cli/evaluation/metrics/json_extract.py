"""json-extract: exact match, and precision, recall and F1 of the values, field by field.

A value is right if the known answer has it in the same field. Values of a list, and the objects of
a list of objects, count one by one, in any order. This is the micro average that is usual for slot
filling and for entities.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mistral_cli.evaluation.metrics.metric import (
    Breakdown,
    Figures,
    KnownExample,
    Metric,
    TaskMetrics,
    f1,
    mean,
    ratio,
)

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.generation.task import Task

_Values = Counter[tuple[str, str]]
"""Fields, as paths without positions in lists, with their values as texts."""

_TITLES = ("field", "precision", "recall", "F1", "values")


class JsonMetrics(TaskMetrics):
    """Exact match, precision, recall and F1."""

    names = ("exact_match", "precision", "recall", "f1")
    field = "data"

    def expected(self, value: Any) -> Any:
        """An object or a list: as JSON, or `{field: cell}` from columns."""
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise ValueError(f"must be JSON: {error}") from None
        if not isinstance(value, dict | list):
            raise ValueError("must be a JSON object, or a list of objects")
        return value

    def answer(self, record: Record) -> Any:
        """The JSON value."""
        return record.get("data")

    def figures(self, examples: Sequence[KnownExample]) -> Figures:
        """Compare the values of each example."""
        import numpy as np

        pairs = [(values_of(each.expected), values_of(each.answer)) for each in examples]
        exact = [
            float(each.answer is not None and expected == answer)
            for each, (expected, answer) in zip(examples, pairs, strict=True)
        ]
        counts = np.array([_counts(expected, answer) for expected, answer in pairs], float)
        return Figures(
            (
                mean("exact_match", exact),
                Metric("precision", counts, lambda sums: ratio(sums[0], sums[0] + sums[1])),
                Metric("recall", counts, lambda sums: ratio(sums[0], sums[0] + sums[2])),
                Metric("f1", counts, lambda sums: f1(*sums)),
            ),
            _fields(pairs),
        )


def metrics(task: Task) -> TaskMetrics:  # noqa: ARG001
    """The metrics of json-extract."""
    return JsonMetrics()


def values_of(value: Any) -> _Values:
    """The values in a JSON value; null, "" and an empty list do not count."""
    return Counter(_walk("", value))


def _walk(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _walk(f"{path}.{name}" if path else str(name), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(path, inner)
    elif (text := _as_text(value)) != "":
        yield path, text


def _as_text(value: Any) -> str:
    """A scalar as text, so that a cell's "42" equals 42, and 42.0 too."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = " ".join(str(value).split())
    try:
        number = float(text)
    except ValueError:
        return text
    # A number that is written otherwise, such as a telephone number with a leading 0, is a text.
    plain = text.lstrip("-")
    if plain.isascii() and plain[:1].isdigit() and (plain[:1] != "0" or plain[1:2] in ("", ".")):
        return f"{number:.15g}"
    return text


def _counts(expected: _Values, answer: _Values) -> tuple[int, int, int]:
    """How many values are right, wrong and missed."""
    hits = (expected & answer).total()
    return hits, answer.total() - hits, expected.total() - hits


def _fields(pairs: Sequence[tuple[_Values, _Values]]) -> Breakdown:
    """Precision, recall and F1 of each field, in the order in which the fields occur."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for expected, answer in pairs:
        hits, wrong, missed = expected & answer, answer - expected, expected - answer
        for position, values in enumerate((hits, wrong, missed)):
            for (field, _), number in values.items():
                totals[field][position] += number
    order = dict.fromkeys(field for expected, _ in pairs for field, _ in expected)
    order |= dict.fromkeys(totals)
    rows = [_field(field, *totals[field]) for field in order]
    cells = [
        (
            str(row["field"]),
            *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")),
            f"{row['values']:,}",
        )
        for row in rows
    ]
    return Breakdown("fields", _TITLES, cells, rows)


def _field(field: str, hits: int, wrong: int, missed: int) -> dict[str, Any]:
    return {
        "field": field,
        "precision": ratio(hits, hits + wrong),
        "recall": ratio(hits, hits + missed),
        "f1": f1(hits, wrong, missed),
        "values": hits + missed,
    }
