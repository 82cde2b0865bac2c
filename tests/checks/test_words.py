"""Counting words, and the checks of the length of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.checks.form import check_bullets, check_characters, check_sentences, check_words
from mistral_cli.checks.words import count_words


@pytest.mark.parametrize(
    ("text", "fewest", "likely", "most"),
    [
        ("", 0, 0, 0),
        (" \n--- \u2026 !", 0, 0, 0),
        ("The plan failed.", 3, 3, 3),
        ("It's Tom's: l'homme d'abord.", 4, 4, 4),
        ("A well-known and/or state-of-the-art plan", 5, 5, 10),
        ("word\u2014word \u2013 word -- word...word", 5, 5, 5),
        ("3.5 million, 1,000.00 EUR, 50 %", 5, 5, 5),
        ("See https://example.com/a-b/c.html?x=1-2 now", 3, 3, 3),
        ("1. **One.**\n2. Two.\n- _three_\n# Four\n> five", 5, 5, 5),
        ("| a | b |\n|---|---|\n| 1 | 2 |", 4, 4, 4),
        ("\u041f\u043b\u0430\u043d \u0433\u043e\u0442\u043e\u0432.", 2, 2, 2),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", 2, 2, 2),
        ("\uacc4\ud68d\uc740 \uc2e4\ud328\ud588\ub2e4.", 2, 2, 2),
        ("\u8ba1\u5212\u5931\u8d25\u4e86\u3002", 3, 5, 5),  # two words by meaning, three of grammar
        ("Python \u306e\u6587\u3067\u3059\u3002", 3, 5, 5),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", 2, 3, 4),
    ],
)
def test_words_of_many_scripts(text: str, fewest: int, likely: int, most: int) -> None:
    count = count_words(text)
    assert (count.fewest, count.likely, count.most) == (fewest, likely, most)


@given(st.lists(st.from_regex(r"[a-z\u00e0-\u00f6]{1,9}[.,!?]?", fullmatch=True), max_size=60))
def test_words_between_blanks_are_counted_exactly(words: list[str]) -> None:
    assert count_words(" ".join(words)).likely == len(words)


@given(st.text())
def test_the_likely_number_is_in_the_range(text: str) -> None:
    count = count_words(text)
    assert 0 <= count.fewest <= count.likely <= count.most


def test_a_number_of_words_is_right_in_some_way_of_counting() -> None:
    assert check_words("one two three", 3, 3).ok
    assert check_words("a well-known plan", 4, 5).ok
    check = check_words("one two three", 4, 6)
    assert (check.ok, check.expected, check.found) == (False, "4 to 6", 3)


def test_sentences_bullets_and_characters() -> None:
    assert check_sentences("It rained. It snowed.", 2).ok
    assert check_sentences("We met at 5 p.m. Monday is free.", 1).ok  # one reading of two
    assert check_sentences("It rained. It snowed.", 3).found == 2
    assert check_bullets("- a\n* b\n\u2022 c\n\u2013 d\n+ e\n6. f\n7) g", 7).ok
    assert check_bullets("Points:\n- a\n  - b\n-c\n2026. A year", 2).ok
    assert check_bullets("none", 1).found == 0
    assert check_characters(" 1234 \n", 4).ok
    assert check_characters("12345", 4).found == 5
