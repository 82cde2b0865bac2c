"""Thoughts are separated from answers, however the engine cuts the text."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.engines.reasoning import SessionCalls, State, ThoughtParser, stream_answer
from mistral_cli.engines.types import (
    Event,
    Finish,
    ReasoningDelta,
    Request,
    Sampling,
    TextDelta,
    Thinking,
)
from mistral_cli.models.chat.reasoning import Markers, PromptEnd

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
        ("```\ncode\n</think>\nYes.", "thought", "```\ncode\n</think>\nYes.", "Yes."),
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


class Scripted:
    """An engine whose requests are recorded and answered with `pieces`, one list for each."""

    def __init__(self, *answers: Sequence[str], marks: Sequence[str] = ()) -> None:
        self.answers, self.marks = list(answers), marks
        self.requests: list[Request] = []

    def stream(self, request: Request) -> Generator[Event, None, None]:
        self.requests.append(request)
        pieces = self.answers.pop(0)
        for piece in pieces[: request.max_tokens]:
            yield TextDelta(piece, marker=piece in self.marks)
        yield Finish("stop" if len(pieces) <= request.max_tokens else "length", len(pieces))

    def tokenize(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def answer(self, request: Request) -> tuple[str, str, Finish]:
        """The thought, the answer and the end of it."""
        *parts, finish = stream_answer(SessionCalls(self.stream, self.tokenize), request)
        assert isinstance(finish, Finish)
        thought = "".join(part.text for part in parts if isinstance(part, ReasoningDelta))
        return thought, "".join(p.text for p in parts if isinstance(p, TextDelta)), finish


SAMPLING = Sampling(0, 0, 1, 1, 0)
OPEN, CLOSE = 900, 901


def request(end: PromptEnd, **more: Any) -> Request:
    tokens = more.pop("tokens", ((OPEN, "<think>"), (CLOSE, "</think>")))
    options = {"limit": 9, **{k: more.pop(k) for k in ("limit", "closes") if k in more}}
    return Request((1,), 9, SAMPLING, thinking=Thinking(THINK, end, tokens, **options), **more)


def test_what_a_thought_quotes_is_text_in_the_second_request() -> None:
    engine = Scripted(["a", "</think>"[:4], "</think>"[4:], "b"], ["Yes."])
    assert engine.answer(request("open", limit=4, closes=True))[1] == "Yes."
    ids = engine.requests[1].prompt_token_ids
    quoted = engine.tokenize("a</think>b")
    assert ids == (1, *quoted, *engine.tokenize("\n"), CLOSE, *engine.tokenize("\n\n"))


def test_a_thought_that_the_model_began_is_begun_in_the_second_request_too() -> None:
    marks = ("<think>", "</think>")
    engine = Scripted(["<think>", "hm", "hm"], ["Yes."], marks=marks)
    assert engine.answer(request("undecided", limit=2, closes=True))[:2] == ("hm", "Yes.")
    assert engine.requests[1].prompt_token_ids[:2] == (1, OPEN)


def test_a_grammar_applies_after_the_thought_alone() -> None:
    engine = Scripted(["hm", "</think", ">\n\n{"], ['{"a"', ":1}"])
    thought, answer, finish = engine.answer(request("open", grammar="start: x", tokens=()))
    assert (thought.strip(), answer, finish.reason) == ("hm", '{"a":1}', "stop")
    assert [each.grammar for each in engine.requests] == [None, "start: x"]


def test_a_thought_without_a_budget_is_cut_at_its_limit() -> None:
    engine = Scripted(["hm"] * 30)
    assert engine.answer(request("open"))[1:] == ("", Finish("length", 0, None, 9))


def test_the_answer_is_cut_at_its_own_limit() -> None:
    marks = ("</think>",)
    engine = Scripted(["hm", "</think>", *["yes "] * 30], marks=marks)
    thought, answer, finish = engine.answer(request("open"))
    assert (thought, answer) == ("hm", "yes " * 9)
    assert finish == Finish("length", 9, None, 2)


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
