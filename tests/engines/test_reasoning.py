"""Thoughts are separated from answers, however the engine cuts the text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.engines.reasoning import State, ThoughtParser
from mistral_cli.engines.types import ReasoningDelta, TextDelta
from mistral_cli.models.chat.reasoning import Markers

THINK = Markers("<think>\n", "\n</think>\n\n")
HARMONY = Markers(
    "<|channel|>analysis<|message|>",
    "<|end|>",
    "<|channel|>final<|message|>",
    "<|return|>",
    "<|start|>assistant",
)
HARMONY_TOKENS = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>")


def parse(
    pieces: Sequence[str],
    state: State = "start",
    markers: Markers = THINK,
    tokens: tuple[str, ...] = (),
) -> tuple[str, str]:
    """The thought and the answer in the text of `pieces`."""
    parser = ThoughtParser(markers, state, tokens)
    parts = [part for p in pieces for part in parser.feed(TextDelta(p, marker=p in tokens))]
    parts += parser.finish()
    thought = "".join(part.text for part in parts if isinstance(part, ReasoningDelta))
    return thought.rstrip(), "".join(part.text for part in parts if isinstance(part, TextDelta))


@pytest.mark.parametrize(
    ("text", "state", "thought", "answer"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "start", "hm", "Yes."),
        ("\n<think>hm</think>Yes.", "start", "hm", "Yes."),
        ("hm\n</think>\n\nYes.", "thought", "hm", "Yes."),
        ("Yes.", "start", "", "Yes."),
        ("  Yes.", "start", "", "  Yes."),
        ("<thin", "start", "", "<thin"),
        ("hm, and cut", "thought", "hm, and cut", ""),
        ("<think></think>Yes.", "start", "", "Yes."),
        ("<think>a</think>\n<think>b</think>\nYes.", "start", "ab", "Yes."),
        ("<think>a</think>\nOne.\n<think>b</think>\nTwo.", "start", "ab", "One.\nTwo."),
        ("Write <think> first.", "start", "", "Write <think> first."),
        ("as `</think>` says\n</think>\nYes.", "thought", "as `</think>` says", "Yes."),
        ("```\n</think>\n```\n</think>\nYes.", "thought", "```\n</think>\n```", "Yes."),
        ("Use:\n```\n<think>\n```\nDone.", "start", "", "Use:\n```\n<think>\n```\nDone."),
    ],
)
def test_the_thought_is_separated(text: str, state: State, thought: str, answer: str) -> None:
    assert parse([text], state) == (thought, answer)
    assert parse(list(text), state) == (thought, answer)


def test_a_marker_that_is_one_token_is_not_read_from_other_tokens() -> None:
    pieces = ["<think>", "\n", "a ", "</", "think", ">", " b", "</think>", "\n\n", "Yes."]
    thought, answer = parse(pieces, tokens=("<think>", "</think>"))
    assert (thought, answer) == ("a </think> b", "Yes.")


def test_harmony_channels() -> None:
    analysis = ["<|channel|>", "analysis", "<|message|>", "hm", "<|end|>", "<|start|>", "assistant"]
    final = ["<|channel|>", "final", "<|message|>", "Yes.", "<|return|>"]
    assert parse([*analysis, *final], "start", HARMONY, HARMONY_TOKENS) == ("hm", "Yes.")
    assert parse([*analysis, *analysis, *final], "start", HARMONY, HARMONY_TOKENS) == (
        "hmhm",
        "Yes.",
    )
    assert parse(final, "start", HARMONY, HARMONY_TOKENS) == ("", "Yes.")


def test_every_token_is_counted_once() -> None:
    tokens = ("<think>", "</think>")
    parser = ThoughtParser(THINK, "start", tokens)
    counts = {TextDelta: 0, ReasoningDelta: 0}
    for piece in ["<think>", "\n", "hm", "</think>", "\n\n", "Ye", "s."]:
        for part in parser.feed(TextDelta(piece, marker=piece in tokens)):
            counts[type(part)] += part.tokens
    assert counts == {TextDelta: 3, ReasoningDelta: 4}


@given(
    st.lists(
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "a",
                "\n",
                "`",
                "```",
                " ",
                "<",
                "thi",
                "nk>",
                "[THINK]",
                "/",
                "é",
            ]
        ),
        max_size=14,
    ),
    st.sampled_from(["start", "thought", "answer"]),
    st.data(),
)
def test_no_cut_changes_the_answer(parts: list[str], state: State, data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = parse([text], state)
    assert parse(pieces, state) == whole
    assert parse(list(text), state) == whole
