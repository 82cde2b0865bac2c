"""Precision, recall and F1 of JSON values: as scikit-learn computes them, field by field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from mistral_cli.evaluation.metrics.json_extract import JsonMetrics, values_of
from mistral_cli.evaluation.metrics.metric import Figures, KnownExample

OBJECTS = st.fixed_dictionaries(
    {name: st.none() | st.sampled_from(["Anna", "Bob", ""]) for name in ("name", "city")}
    | {"total": st.none() | st.integers(0, 3)}
)


def figures(*pairs: tuple[Any, Any]) -> Figures:
    return JsonMetrics().figures([KnownExample(expected, answer, {}) for expected, answer in pairs])


def values(figures: Figures) -> dict[str, float]:
    return {each.name: each.value for each in figures.metrics}


@given(st.lists(st.tuples(OBJECTS, OBJECTS), min_size=1, max_size=8))
def test_the_figures_equal_those_of_scikit_learn(pairs: list[tuple[Any, Any]]) -> None:
    """Of objects with single values, where its label sets and our values are the same."""
    found = figures(*pairs)
    sides = [[set(map("=".join, values_of(pair[side]))) for pair in pairs] for side in (0, 1)]
    never = ["never=1", "never=2"]  # scikit-learn takes one column for two classes
    classes = [*sorted(set().union(*sides[0], *sides[1])), *never]
    known, chosen = (_indicators(side, classes) for side in sides)
    theirs = precision_recall_fscore_support(known, chosen, average="micro", zero_division=0)
    ours = values(found)
    assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(theirs[:3])
    assert found.breakdown is not None
    for row in found.breakdown.rows:
        fields = row["field"], "never"
        columns = [n for n, name in enumerate(classes) if name.split("=")[0] in fields]
        theirs = precision_recall_fscore_support(
            known[:, columns], chosen[:, columns], average="micro", zero_division=0
        )
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(theirs[:3])
        assert row["values"] == known[:, columns].sum()


def _indicators(sets: list[set[str]], classes: list[str]) -> np.ndarray:
    return np.array([[name in each for name in classes] for each in sets], int)


def test_lists_and_objects_in_lists_count_value_by_value_in_any_order() -> None:
    expected = [{"item": "tea", "count": 2}, {"item": "cup", "count": 1}]
    answer = [{"item": "cup", "count": 1}, {"item": "tea", "count": 3}, {"item": "tea"}]
    found = values(figures((expected, answer)))
    assert found["precision"] == pytest.approx(3 / 5)
    assert found["recall"] == pytest.approx(3 / 4)
    assert found["exact_match"] == 0
    assert values(figures(({"tags": ["a", "b"]}, {"tags": ["b", "a"]})))["exact_match"] == 1


def test_values_are_compared_as_texts_and_numbers_and_nothing_is_no_value() -> None:
    expected = {"total": "42", "phone": "030", "note": "", "paid": "true", "name": "Anna  Lee"}
    answer = {"total": 42.0, "phone": 30, "note": None, "paid": True, "name": "Anna Lee"}
    found = figures((expected, answer))
    assert values(found)["exact_match"] == 0
    assert found.breakdown is not None
    assert {row["field"]: row["f1"] for row in found.breakdown.rows} == {
        "total": 1.0,
        "phone": 0.0,  # the 0 belongs to it
        "paid": 1.0,
        "name": 1.0,
    }


def test_a_row_that_failed_misses_every_value() -> None:
    found = values(figures(({"a": 1, "b": 2}, None), ({"a": 1}, {"a": 1})))
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["precision"] == 1
    assert found["exact_match"] == 0.5


def test_the_known_answer_must_be_json() -> None:
    assert JsonMetrics().expected('{"a": 1}') == {"a": 1}
    assert JsonMetrics().expected({"a": "1"}) == {"a": "1"}
    for wrong in ("Anna", "3", 3):
        with pytest.raises(ValueError, match="must be"):
            JsonMetrics().expected(wrong)


def test_a_row_that_failed_is_wrong_also_if_nothing_was_to_be_found() -> None:
    assert values(figures(({"name": None}, None), ({"name": None}, {})))["exact_match"] == 0.5
