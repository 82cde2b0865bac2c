"""A grounded text that is cut has no part of a number; `tests/tasks` has it with real models."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.engines.grounded_runs import without_cut_run
from mistral_cli.engines.types import Event, Finish, FinishReason, TextDelta

WORDS = st.text("a1 .,@/\u5e74\n", max_size=12)


def streamed(pieces: list[str], reason: FinishReason = "length") -> list[str]:
    """The texts of the deltas, one for each piece and one for what was held back."""

    def events() -> Generator[Event, None, None]:
        yield from map(TextDelta, pieces)
        yield Finish(reason, len(pieces))

    seen = [*without_cut_run(events())]
    assert seen[-1] == Finish(reason, len(pieces))
    return [each.text for each in seen if isinstance(each, TextDelta)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It cost 40", "It cost "),
        ("It cost 40,", "It cost "),
        ("It cost 40,000 EU", "It cost 40,000 EU"),
        ("It cost $40,0", "It cost "),
        ("It cost 40 ", "It cost "),
        ("It cost 40 0", "It cost "),
        ("It cost 40 000 ", "It cost "),
        ("In 2024 we", "In 2024 we"),
        ("On 17 May 20", "On 17 May "),
        ("At 3 p", "At "),
        ("At 3 people", "At 3 people"),
        ("(up 12%)", "(up 12%)"),
        ("in INV-20", "in "),
        ("to john.doe@ac", "to "),
        ("see https://ac", "see "),
        ("see acme.co", "see "),
        ("well-known comp", "well-known comp"),
        ("\u58f2\u4e0a\u306f40", "\u58f2\u4e0a\u306f"),
        ("2023\u5e74\u306e\u58f2\u4e0a", "2023\u5e74\u306e\u58f2\u4e0a"),
        ("- one\n- 2", "- one\n- "),
    ],
)
def test_a_text_that_is_cut_ends_before_an_unfinished_number(text: str, kept: str) -> None:
    assert "".join(streamed([text])) == kept
    assert "".join(streamed([*text])) == kept
    assert "".join(streamed([*text], "stop")) == text


def test_words_stream_when_they_are_complete() -> None:
    pieces = ["We", " pa", "id", " 40", ",", "000", " EUR", " in", " all"]
    assert streamed(pieces) == ["", "We ", "", "paid ", "", "", "40,000 ", "EUR ", "in ", "all"]


@given(st.lists(WORDS, max_size=8))
def test_the_pieces_of_a_text_do_not_matter(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert "".join(streamed(pieces)) == "".join(streamed([text]))
    assert "".join(streamed(pieces, "stop")) == text
