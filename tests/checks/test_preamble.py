"""A preamble is removed; a first sentence that looks like one stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.checks.preamble import may_become_preamble, without_preamble


def _rows(kind: str) -> list[str]:
    table = Path(__file__).with_name("preambles.txt").read_text(encoding="utf-8")
    rows = [line[2:] for line in table.splitlines() if line.startswith(kind)]
    return [row.replace("\u23ce", "\n") for row in rows]


PREAMBLES, ANSWERS = _rows("+ "), _rows("- ")


def test_preambles_are_removed() -> None:
    assert len(PREAMBLES) >= 60
    for row in PREAMBLES:
        preamble, answer = row.split("\u2016")
        assert without_preamble(preamble + answer) == answer, row


def test_first_sentences_that_look_like_preambles_stay() -> None:
    assert len(ANSWERS) >= 60
    for answer in ANSWERS:
        assert without_preamble(answer) == answer
        more = f"{answer}\nMore of it."
        if not answer.endswith((":", "Of course!")):  # then it is a preamble
            assert without_preamble(more) == more, answer


def test_a_translation_keeps_the_preamble_of_its_text() -> None:
    source = "Sure, here is the summary:\nThe plan failed."
    answer = "Bien s\u00fbr, voici le r\u00e9sum\u00e9 :\nLe plan a \u00e9chou\u00e9."
    assert without_preamble(answer, source) == answer
    assert without_preamble(answer, "The plan failed.") == "Le plan a \u00e9chou\u00e9."
    answer = "Voici les traductions :\n- Berlin"
    assert without_preamble(answer, "**These are the translations:**\n- Berlin") == answer


def test_every_preamble_is_suspected_from_its_first_letter_on() -> None:
    for row in PREAMBLES:
        line = row.partition("\u2016")[0].partition("\n")[0]
        for length in range(len(line) + 1):
            assert may_become_preamble(line[:length]), line[:length]


@pytest.mark.parametrize("start", ["The city", "Yesterday", "Die Stadt", "1. ", "{", "Sure\n", "x"])
def test_other_beginnings_are_not_held_back(start: str) -> None:
    assert not may_become_preamble(start)


@given(st.text(max_size=200))
def test_only_the_beginning_is_removed(text: str) -> None:
    assert text.endswith(without_preamble(text))
    assert bool(without_preamble(text)) == bool(text.strip())
