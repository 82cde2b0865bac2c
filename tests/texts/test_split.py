"""Parts of a long text: nothing lost, nothing too long, cut at the text's own boundaries."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.errors import UsageError
from mistral_cli.texts.split import keep_head, keep_tail, split

DOCUMENTS = Path(__file__).parents[1] / "support" / "files"
RFC = (DOCUMENTS / "rfc.txt").read_text(encoding="utf-8")
README = (DOCUMENTS / "readme.md").read_text(encoding="utf-8")


class Tokens:
    """A tokenizer as irregular as real ones, which records its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.characters = 0

    def __call__(self, text: str) -> int:
        self.calls += 1
        self.characters += len(text)
        return sum(
            1 if piece.isspace() else -(-len(piece) // 6)
            for piece in re.findall(r"[A-Za-z]+|\s{1,8}|[^A-Za-z\s]", " " + text)
        )


def test_a_text_that_fits_is_one_part_and_is_counted_once() -> None:
    count = Tokens()
    assert split("A short text.", count, 100, markdown=False) == ["A short text."]
    assert count.calls == 1


@pytest.mark.parametrize("limit", [20, 100, 500, 2000])
@pytest.mark.parametrize(("text", "markdown"), [(RFC, False), (README, True)])
def test_parts_fit_and_together_are_the_text(text: str, markdown: bool, limit: int) -> None:
    parts = split(text, Tokens(), limit, markdown=markdown)
    assert "".join(parts) == text
    assert max(map(Tokens(), parts)) <= limit
    assert all(part.strip() for part in parts)


def test_parts_start_at_boundaries_of_the_text() -> None:
    """With room for several paragraphs, no sentence and hardly any section is cut."""
    parts = split(RFC, Tokens(), 600, markdown=False)
    assert len(parts) > 3
    for before, after in pairwise(parts):
        assert before.endswith("\n\n") or after.startswith("\n\n")
    parts = split(README, Tokens(), 500, markdown=True)
    assert len(parts) > 2
    assert all(part.lstrip().startswith(("#", "Installation\n---")) for part in parts[1:])


def test_parts_are_of_about_equal_size() -> None:
    paragraph = "The quick brown fox jumps over the lazy dog. " * 4 + "\n\n"
    text = paragraph * 101
    limit = Tokens()(text) // 10 + 5  # ten full parts would leave a crumb
    sizes = [*map(Tokens(), split(text, Tokens(), limit, markdown=False))]
    assert len(sizes) <= 12
    assert min(sizes) > 0.6 * max(sizes)


def test_a_long_text_is_counted_only_a_few_times() -> None:
    text = RFC * (2_000_000 // len(RFC))
    count = Tokens()
    parts = split(text, count, 2000, markdown=False)
    assert count.characters < 3 * len(text)
    assert count.calls < 2 * len(parts)


def test_a_single_word_is_cut_between_characters() -> None:
    assert "".join(parts := split("a" * 1000, len, 300, markdown=False)) == "a" * 1000
    assert len(parts) == 4


@given(
    st.text(alphabet="ab .\n\u00e9\u65e5\U0001f600#-`\t", max_size=300).filter(str.strip),
    st.integers(1, 40),
    st.booleans(),
)
def test_any_text_is_split_or_rejected(text: str, limit: int, markdown: bool) -> None:
    try:
        parts = split(text, Tokens(), limit, markdown=markdown)
    except UsageError:
        too_blank = limit < max(map(len, re.findall(r"\s+", text)), default=0)
        if limit > 2 and not too_blank:
            raise
    else:
        assert "".join(parts) == text
        assert all(part.strip() and Tokens()(part) <= limit for part in parts)


def test_a_fixed_number_of_tokens_per_part_is_handled() -> None:
    text = "All work and no play makes Jack a dull boy. " * 100
    parts = split(text, lambda text: 50 + len(text) // 4, 60, markdown=False)
    assert "".join(parts) == text
    assert max(map(len, parts)) < 44


@pytest.mark.parametrize("text", ["abc", "a" * 5000])
def test_no_room_for_a_character(text: str) -> None:
    with pytest.raises(UsageError, match="one character exceeds the") as caught:
        split(text, lambda text: 5 * len(text), 4, markdown=False)
    assert "--context-length" in caught.value.hint


def test_whitespace_goes_to_its_neighbours_or_is_rejected() -> None:
    text = "one two" + "\n" * 60 + "three"
    parts = split(text, len, 40, markdown=False)
    assert "".join(parts) == text
    assert all(part.strip() and len(part) <= 40 for part in parts)
    with pytest.raises(UsageError, match="stretch of whitespace"):
        split("one" + "\n" * 500 + "three", len, 40, markdown=False)


# --- the start or the end of a text ---------------------------------------------------------------


def test_the_head_and_the_tail_end_at_words() -> None:
    text = "one two three four"
    assert keep_head(text, lambda part: len(part) <= 9) == "one two"
    assert keep_head(text, lambda part: len(part) <= 7) == "one two"
    assert keep_tail(text, lambda part: len(part) <= 9) == "four"
    assert keep_tail(text, lambda part: len(part) <= 10) == "three four"
    assert keep_head(text, bool) == keep_tail(text, bool) == text
    assert keep_head(text, lambda part: not part) == keep_tail(text, lambda part: not part) == ""


def test_without_spaces_the_cut_is_between_characters() -> None:
    text = "\u65e5\u672c\u8a9e" * 100
    assert len(keep_head(text, lambda part: len(part) <= 50)) == 50
    assert len(keep_tail(text, lambda part: len(part) <= 50)) == 50
    accented = "e\u0301" * 300
    assert len(keep_head(accented, lambda part: len(part) <= 51)) == 50
    assert len(keep_tail(accented, lambda part: len(part) <= 51)) == 50


def test_a_few_calls_find_the_limit() -> None:
    text = RFC * 50
    count = Tokens()
    head = keep_head(text, lambda part: count(part) <= 1000)
    assert 990 <= Tokens()(head) <= 1000
    assert count.calls < 30
    assert count.characters < 30 * len(head)


@given(st.text(alphabet="ab .\n\u0301\u65e5\u200d", max_size=100), st.integers(0, 30))
def test_the_kept_part_fits_and_comes_from_the_text(text: str, limit: int) -> None:
    # Tokens are not quite monotone: a longer text may have fewer.
    def fits(part: str) -> bool:
        return len(part) - 2 * part.endswith("a") <= limit

    head, tail = keep_head(text, fits), keep_tail(text, fits)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert not head or fits(head)
    assert not tail or fits(tail)
