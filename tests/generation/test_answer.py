"""From events to an answer: stop texts, however they are split over deltas, and timings."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mistral_cli.engines.stop_texts import until_stop
from mistral_cli.engines.types import (
    Event,
    Finish,
    FinishReason,
    PrefillProgress,
    TextDelta,
)
from mistral_cli.errors import EngineFailed
from mistral_cli.generation.answer import Answer, AnswerEnded, Timings, collect

TEXT = st.text("ab<", max_size=30)


class Source:
    """Yields events as an engine does, and counts the deltas that were consumed."""

    def __init__(self, deltas: Sequence[str], reason: FinishReason = "length") -> None:
        self.deltas, self.reason = deltas, reason
        self.consumed = 0
        self.closed = False

    def events(self) -> Generator[Event, None, None]:
        try:
            yield PrefillProgress(0, 1)
            for delta in self.deltas:
                self.consumed += 1
                yield TextDelta(delta)
            yield Finish(self.reason, len(self.deltas))
        finally:
            self.closed = True


def answer(source: Source, stop: Sequence[str]) -> tuple[Answer, list[str]]:
    shown: list[str] = []
    result = collect(
        until_stop(source.events(), stop),
        prompt_tokens=3,
        load_seconds=1.5,
        on_progress=lambda progress: None,
        on_text=shown.append,
    )
    return result, shown


@given(st.lists(TEXT, max_size=10), st.lists(TEXT, max_size=3))
@example(["ab", "c", "d"], ["abcd", "bc"])
@example(["ab", "c", "e"], ["abcd", "bc"])
@example(["aab"], ["ab", "aab"])
@example(["<", "<a"], ["<a"])
@example(["x", ""], [""])
def test_the_text_ends_before_the_first_stop(deltas: list[str], stop: list[str]) -> None:
    whole = "".join(deltas)
    cuts = [whole.find(text) for text in stop if text and text in whole]
    result, shown = answer(Source(deltas), stop)
    assert result.text == "".join(shown) == whole[: min(cuts, default=len(whole))]
    assert result.finish_reason == ("stop" if cuts else "length")


@pytest.mark.parametrize(
    ("deltas", "stop", "text", "consumed"),
    [
        (["a", "<e", "nd", ">b"], ["<end>"], "a", 4),
        (["<end>", "b"], ["<end>"], "", 1),
        (["a<", "<end>", "b"], ["<end>"], "a<", 2),
        (["a", "b", "c", "d"], ["c", "b"], "a", 2),
        (["a\n", "\n", "b"], ["\n\n"], "a", 2),
        (["é", "日", "本", "語"], ["本"], "é日", 3),
    ],
)
def test_a_stop_text_stops_the_engine(
    deltas: list[str], stop: list[str], text: str, consumed: int
) -> None:
    source = Source(deltas)
    result, _ = answer(source, stop)
    assert (result.text, result.finish_reason) == (text, "stop")
    assert result.completion_tokens == source.consumed == consumed
    assert source.closed


def test_the_engine_stops_before_the_last_events_are_yielded() -> None:
    source = Source(["a", "b", "c"])
    for event in until_stop(source.events(), ["b"]):
        assert source.closed == (
            event in (TextDelta("", tokens=0), Finish("stop", 2, stop_text="b"))
        )


def test_closing_the_events_stops_the_engine() -> None:
    source = Source(["a", "b"])
    events = until_stop(source.events(), ["x"])
    next(events)
    events.close()
    assert source.closed


def test_text_is_held_back_no_longer_than_needed() -> None:
    shown = answer(Source(["a", "<", "<", "e", "x", "<e"]), ["<end>"])[1]
    assert shown == ["a", "", "<", "", "<ex", "", "<e"]


def test_an_unfinished_stop_text_is_shown_at_the_end() -> None:
    result, shown = answer(Source(["<en"] * 3, "stop"), ["<end>"])
    assert result.text == "<en<en<en"
    assert (result.finish_reason, result.completion_tokens) == ("stop", 3)
    assert shown[-1] == "<en"


def test_an_answer_and_its_timings() -> None:
    progress: list[PrefillProgress] = []
    result = collect(
        Source(["a", "", "b"], "stop").events(),
        prompt_tokens=3,
        load_seconds=1.5,
        on_progress=progress.append,
        on_text=lambda text: None,
    )
    assert (result.text, result.finish_reason, result.completion_tokens) == ("ab", "stop", 3)
    assert progress == [PrefillProgress(0, 1)]
    assert result.timings.load == 1.5
    assert 0 <= result.timings.prompt < 1 > result.timings.generation >= 0


def test_timings_from_the_engine_are_preferred() -> None:
    events: list[Event] = [TextDelta(""), TextDelta("all"), Finish("stop", 9, seconds=(0.25, 2.0))]
    result = collect(
        iter(events),
        prompt_tokens=3,
        load_seconds=1.5,
        on_progress=lambda _: None,
        on_text=lambda _: None,
    )
    assert (result.text, result.completion_tokens) == ("all", 9)
    assert result.timings == Timings(1.5, 0.25, 2.0)


def test_an_empty_answer() -> None:
    result, _ = answer(Source([], "stop"), [])
    assert (result.text, result.completion_tokens, result.timings.generation) == ("", 0, 0)


def test_an_engine_that_stops_without_a_finish_event_fails() -> None:
    with pytest.raises(EngineFailed, match="without a result"):
        collect(
            iter([TextDelta("half")]),
            prompt_tokens=3,
            load_seconds=0,
            on_progress=lambda progress: None,
            on_text=lambda text: None,
        )


def test_a_reader_of_the_text_can_end_the_answer() -> None:
    source, seen = Source(["a", "b", "c", "d"]), ""

    def read(text: str) -> None:
        nonlocal seen
        seen += text
        if "b" in seen:
            raise AnswerEnded

    result = collect(
        until_stop(source.events(), ["x"]),
        prompt_tokens=3,
        load_seconds=0,
        on_progress=lambda _: None,
        on_text=read,
    )
    assert (result.text, result.finish_reason, result.completion_tokens) == ("ab", "stop", 2)
    assert source.closed
