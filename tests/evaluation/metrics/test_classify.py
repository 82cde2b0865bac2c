"""Accuracy, macro-F1 and the confusion matrix: as scikit-learn computes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from mistral_cli.evaluation.metrics.classify import LabelMetrics
from mistral_cli.evaluation.metrics.metric import Figures, KnownExample

LABEL = st.sampled_from(["bug", "question", "praise", "spam"])
PAIRS = st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=20)
SETS = st.frozensets(LABEL, max_size=3)


def figures(*pairs: tuple[frozenset[str], frozenset[str] | None]) -> Figures:
    return LabelMetrics().figures([KnownExample(known, answer, {}) for known, answer in pairs])


@given(PAIRS)
def test_one_label_a_row(pairs: list[tuple[str, str]]) -> None:
    found = figures(*((frozenset([known]), frozenset([answer])) for known, answer in pairs))
    known, answers = zip(*pairs, strict=True)
    accuracy, macro = found.metrics
    assert accuracy.value == pytest.approx(accuracy_score(known, answers))
    assert macro.value == pytest.approx(f1_score(known, answers, average="macro", zero_division=0))
    labels = sorted({*known, *answers})
    matrix = confusion_matrix(known, answers, labels=labels)
    assert found.breakdown is not None
    for row in found.breakdown.rows:
        place = labels.index(row["expected"]), labels.index(row["answer"])
        assert row["rows"] == matrix[place]
    assert sum(row["rows"] for row in found.breakdown.rows) == len(pairs)
    assert list(found.breakdown.titles[1:]) == sorted(labels)


@given(st.lists(st.tuples(SETS, SETS), min_size=1, max_size=12))
def test_several_labels_a_row(pairs: list[tuple[frozenset[str], frozenset[str]]]) -> None:
    labels = ["bug", "praise", "question", "spam", "never"]  # one column would be two classes
    binarizer = MultiLabelBinarizer(classes=labels)
    known, answers = (binarizer.fit_transform([pair[side] for pair in pairs]) for side in (0, 1))
    present = [place for place in range(5) if known[:, place].any() or answers[:, place].any()]
    accuracy, macro = figures(*pairs).metrics
    assert accuracy.value == pytest.approx(accuracy_score(known, answers))
    if present:
        theirs = f1_score(known, answers, labels=present, average="macro", zero_division=0)
        assert macro.value == pytest.approx(theirs)


def test_a_row_that_failed_is_wrong_also_where_no_label_is_right() -> None:
    found = figures((frozenset(), None), (frozenset(["bug"]), None), (frozenset(), frozenset()))
    assert found.metrics[0].value == pytest.approx(1 / 3)
    assert found.breakdown is not None
    assert ("(none)", "1", "1") in [(row[0], *row[-2:]) for row in found.breakdown.cells]


def test_the_known_answer_is_a_label_or_a_list_of_them() -> None:
    metrics = LabelMetrics()
    assert metrics.expected(" bug ") == {"bug"}
    assert metrics.expected('["bug", "spam"]') == metrics.expected(["spam", "bug"])
    for wrong in ("[bug", 3, [1]):
        with pytest.raises(ValueError, match="must be"):
            metrics.expected(wrong)


def test_the_answer_is_what_was_chosen_or_stands_in_its_place() -> None:
    answer = LabelMetrics().answer
    assert answer({"label": "bug", "chosen": ["bug", "spam"]}) == {"bug", "spam"}
    assert answer({"label": "unknown", "chosen": []}) == {"unknown"}
    assert answer({"label": None, "chosen": []}) == frozenset()


def test_a_bar_separates_known_labels_only_with_multi() -> None:
    assert LabelMetrics(multi=True).expected("bug | spam") == {"bug", "spam"}
    assert LabelMetrics().expected("bug | spam") == {"bug | spam"}


def test_known_labels_may_be_in_another_case() -> None:
    record = {"labels": [{"name": "bug"}, {"name": "spam"}]}
    answers = [("Bug", "bug"), ("SPAM", "bug"), ("Unknown", "unknown")]
    examples = [KnownExample(frozenset([a]), frozenset([b]), record) for a, b in answers]
    found = LabelMetrics().figures(examples)
    assert found.metrics[0].value == pytest.approx(1 / 3)
    assert found.breakdown is not None
    assert [row[0] for row in found.breakdown.cells] == ["Unknown", "bug", "spam"]
