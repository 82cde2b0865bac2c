"""Lengths that a user asks for: how they are counted, and how a text is cut."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from mistral_cli.errors import UsageError
from mistral_cli.generation.checking.lengths import lengths_of, word_range
from mistral_cli.tasks.summarize import summarize

TEXT = "The pier is old. It must be repaired soon. The work costs 40,000 euros."


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("60", 48, 72),
        ("5", 3, 7),
        ("1", 1, 3),
        ("50-70", 50, 70),
        ("50 \u2013 70", 50, 70),
        ("7-7", 7, 7),
    ],
)
def test_about_n_words_has_a_tolerance_and_a_range_has_none(
    value: str, least: int, most: int
) -> None:
    assert word_range(value) == (least, most)


@pytest.mark.parametrize("value", ["", "0", "many", "70-50", "0-3", "-5", "5-", "3.5", "1-2-3"])
def test_other_values_of_words_are_refused(value: str) -> None:
    with pytest.raises(UsageError, match="--words cannot be"):
        summarize(words=value)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"sentences": 5, "words": "3"}, None),
        ({"sentences": 6, "words": "3"}, "6 sentences cannot have 5 words"),
        ({"bullets": 4, "words": "2-3"}, "4 bullet points cannot have 3 words"),
        ({"sentences": 5, "max_chars": 10}, None),
        ({"sentences": 6, "max_chars": 10}, "6 sentences cannot have 10 characters"),
        ({"words": "60", "max_chars": 48}, None),
        ({"words": "60", "max_chars": 47}, "48 words cannot have 47 characters"),
    ],
)
def test_lengths_that_no_text_has_together_are_refused(
    options: dict[str, Any], wrong: str | None
) -> None:
    with pytest.raises(UsageError, match=wrong) if wrong else nullcontext():
        summarize(**options)


@pytest.mark.parametrize(
    ("values", "ok", "found", "cut"),
    [
        ({"words": 14}, True, 14, TEXT),
        ({"words": "8 to 9"}, False, 14, "The pier is old. It must be repaired soon."),
        ({"words": "5 to 6"}, False, 14, None),
        ({"words": "20 to 30"}, False, 14, None),
        ({"max_chars": 71}, True, 71, TEXT),
        ({"max_chars": 70}, False, 71, "The pier is old. It must be repaired soon."),
        ({"max_chars": 20}, False, 71, "The pier is old."),
        ({"max_chars": 10}, False, 71, None),
        ({"sentences": 3}, True, 3, TEXT),
        ({"sentences": 1}, False, 3, "The pier is old."),
        ({"sentences": 4}, False, 3, None),
        ({"bullets": 1}, False, 0, None),
    ],
)
def test_a_text_that_is_too_long_is_cut_at_the_end_of_a_sentence(
    values: dict[str, int | str], ok: bool, found: int, cut: str | None
) -> None:
    (length,) = lengths_of(values)
    check = length.check(f"{TEXT}\n")
    assert (check.name, check.ok, check.found) == (length.name, ok, found)
    if not ok:
        assert length.cut(TEXT) == cut


def test_the_last_sentence_of_an_answer_that_was_cut_does_not_count() -> None:
    (length,) = lengths_of({"max_chars": 60})
    assert length.cut("The pier is old. It must be rep", complete=False) == "The pier is old."
    (length,) = lengths_of({"words": "3 to 9"})
    assert length.cut("The pier is old. It must be rep", complete=False) == "The pier is old."
