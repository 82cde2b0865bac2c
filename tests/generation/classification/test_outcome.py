"""Which labels are chosen, and what is printed."""

from __future__ import annotations

import math

import pytest

from mistral_cli.generation.classification.outcome import Classification, choose


def chosen(
    probabilities: dict[str, float],
    *,
    multi: bool = False,
    threshold: float | None = None,
    thresholds: dict[str, float] | None = None,
    otherwise: str | None = None,
) -> Classification:
    return choose(
        [*probabilities],
        [math.log(each) for each in probabilities.values()],
        multi=multi,
        threshold=threshold,
        thresholds=thresholds or {},
        otherwise=otherwise,
    )


def test_the_likeliest_label_is_chosen_whatever_its_probability() -> None:
    outcome = chosen({"a": 0.3, "b": 0.36, "c": 0.34}, thresholds={"b": 0.9})
    assert (outcome.label, outcome.chosen) == ("b", ("b",))
    assert outcome.probability == pytest.approx(0.36)
    assert outcome.text(None) == "b"
    assert outcome.text(2) == "b\t0.3600\nc\t0.3400"


@pytest.mark.parametrize(
    ("threshold", "thresholds", "label"),
    [
        (None, {}, "b"),
        (None, {"b": 0.8}, "-"),
        (None, {"a": 0.8}, "b"),
        (0.5, {"b": 0.8}, "b"),
        (0.7, {}, "-"),
    ],
)
def test_otherwise_needs_a_threshold_and_the_option_comes_first(
    threshold: float | None, thresholds: dict[str, float], label: str
) -> None:
    outcome = chosen(
        {"a": 0.4, "b": 0.6}, threshold=threshold, thresholds=thresholds, otherwise="-"
    )
    assert outcome.label == label
    assert outcome.probability == pytest.approx(0.6)


def test_several_labels_are_chosen_each_by_its_own_threshold() -> None:
    probabilities = {"a": 0.55, "b": 0.9, "c": 0.3}
    assert chosen(probabilities, multi=True).chosen == ("b", "a")
    outcome = chosen(probabilities, multi=True, thresholds={"a": 0.6, "c": 0.2})
    assert outcome.chosen == ("b", "c")
    assert outcome.text(None) == "b\nc"
    none = chosen(probabilities, multi=True, threshold=0.95, otherwise="none")
    assert (none.label, none.chosen, none.text(None)) == ("none", (), "none")


def test_json_has_all_labels_and_rounds() -> None:
    fields = chosen({"a": 1 / 3, "b": 2 / 3}).fields()
    assert fields == {
        "label": "b",
        "probability": 0.666667,
        "multi": False,
        "chosen": ["b"],
        "labels": [{"name": "b", "probability": 0.666667}, {"name": "a", "probability": 0.333333}],
        "reason": None,
    }
