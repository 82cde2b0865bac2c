"""Stop texts and the log probabilities of tokens; `tests/generation` has the rest about texts."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.engines.stop_texts import until_stop
from mistral_cli.engines.types import Event, Finish, TextDelta, TokenLogprob


def events(texts: Sequence[str]) -> Generator[Event, None, None]:
    for number, text in enumerate(texts):
        yield TextDelta(text, (TokenLogprob(text, (), -float(number)),))
    yield Finish("length", len(texts))


def reported(texts: Sequence[str], stop: Sequence[str]) -> tuple[str, list[str]]:
    """The text that is let through, and the texts of the tokens that are reported with it."""
    deltas = [each for each in until_stop(events(texts), stop) if isinstance(each, TextDelta)]
    tokens = [token.text for each in deltas for token in each.logprobs]
    return "".join(each.text for each in deltas), tokens


def test_tokens_are_held_back_with_their_text() -> None:
    assert reported(["a", "<", "b", "<", "end", "c"], ["<end>"]) == (
        "a<b<endc",
        [*"a<b<", "end", "c"],
    )
    assert reported(["a", "<", "en", "d>", "c"], ["<end>"]) == ("a", ["a"])
    assert reported(["ab<", "end>"], ["b<end>"]) == ("a", ["ab<"])  # a part of it is in the text
    assert reported(["", "é", ""], []) == ("é", ["", "é", ""])


@given(st.lists(st.text("ab<", min_size=1, max_size=3), max_size=8), st.text("ab<", max_size=3))
def test_the_tokens_are_those_that_begin_in_the_text(texts: list[str], stop: str) -> None:
    text, tokens = reported(texts, [stop])
    assert tokens == texts[: len(tokens)]
    assert "".join(tokens).startswith(text)
    assert len("".join(tokens[:-1])) < max(len(text), 1)
