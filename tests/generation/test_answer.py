"""From events to one answer: stop texts, however they are split, and the result."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mistral_cli.engines.types import (
    Event,
    Finish,
    FinishReason,
    PrefillProgress,
    TextDelta,
)
from mistral_cli.errors import EngineFailed
from mistral_cli.generation.answer import Answer, Timings, collect, until_stop

TEXT = st.text("ab<", max_size=30)


class Source:
    """Events of an engine, and what was made of them."""

    def __init__(self, pieces: Sequence[str], reason: FinishReason = "length") -> None:
        self.pieces, self.reason = pieces, reason
        self.given = 0
        self.closed = False

    def events(self) -> Generator[Event, None, None]:
        try:
            yield PrefillProgress(0, 1)
            for piece in self.pieces:
                self.given += 1
                yield TextDelta(piece)
            yield Finish(self.reason, len(self.pieces))
        finally:
            self.closed = True


def answer(source: Source, stop: Sequence[str]) -> tuple[Answer, list[str]]:
    shown: list[str] = []
    found = collect(
        until_stop(source.events(), stop),
        prompt_tokens=3,
        load_seconds=1.5,
        on_progress=lambda progress: None,
        on_text=shown.append,
    )
    return found, shown


@given(st.lists(TEXT, max_size=10), st.lists(TEXT, max_size=3))
@example(["ab", "c", "d"], ["abcd", "bc"])
@example(["ab", "c", "e"], ["abcd", "bc"])
@example(["aab"], ["ab", "aab"])
@example(["<", "<a"], ["<a"])
@example(["x", ""], [""])
def test_the_text_ends_before_the_first_stop(pieces: list[str], stop: list[str]) -> None:
    whole = "".join(pieces)
    cuts = [whole.find(text) for text in stop if text and text in whole]
    found, shown = answer(Source(pieces), stop)
    assert found.text == "".join(shown) == whole[: min(cuts, default=len(whole))]
    assert found.finish_reason == ("stop" if cuts else "length")


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "given"),
    [
        (["a", "<e", "nd", ">b"], ["<end>"], "a", 4),
        (["<end>", "b"], ["<end>"], "", 1),
        (["a<", "<end>", "b"], ["<end>"], "a<", 2),
        (["a", "b", "c", "d"], ["c", "b"], "a", 2),
        (["a\n", "\n", "b"], ["\n\n"], "a", 2),
        (["é", "日", "本", "語"], ["本"], "é日", 3),
    ],
)
def test_a_stop_ends_the_work(pieces: list[str], stop: list[str], text: str, given: int) -> None:
    source = Source(pieces)
    found, _ = answer(source, stop)
    assert (found.text, found.finish_reason) == (text, "stop")
    assert found.completion_tokens == source.given == given
    assert source.closed


def test_the_work_ends_before_the_reader_is_told() -> None:
    source = Source(["a", "b", "c"])
    for event in until_stop(source.events(), ["b"]):
        assert source.closed == (event in (TextDelta(""), Finish("stop", 2)))


def test_a_reader_who_leaves_ends_the_work() -> None:
    source = Source(["a", "b"])
    events = until_stop(source.events(), ["x"])
    next(events)
    events.close()
    assert source.closed


def test_text_is_held_back_no_longer_than_needed() -> None:
    shown = answer(Source(["a", "<", "<", "e", "x", "<e"]), ["<end>"])[1]
    assert shown == ["a", "", "<", "", "<ex", "", "<e"]


def test_a_beginning_that_never_ends_is_shown_at_the_end() -> None:
    found, shown = answer(Source(["<en"] * 3, "stop"), ["<end>"])
    assert found.text == "<en<en<en"
    assert (found.finish_reason, found.completion_tokens) == ("stop", 3)
    assert shown[-1] == "<en"


def test_an_answer() -> None:
    progress: list[PrefillProgress] = []
    found = collect(
        Source(["a", "", "b"], "stop").events(),
        prompt_tokens=3,
        load_seconds=1.5,
        on_progress=progress.append,
        on_text=lambda text: None,
    )
    assert (found.text, found.finish_reason, found.completion_tokens) == ("ab", "stop", 3)
    assert progress == [PrefillProgress(0, 1)]
    assert found.timings.load == 1.5
    assert 0 <= found.timings.prompt < 1 > found.timings.generation >= 0


def test_times_that_the_engine_tells_are_not_measured() -> None:
    events: list[Event] = [TextDelta(""), TextDelta("all"), Finish("stop", 9, seconds=(0.25, 2.0))]
    found = collect(
        iter(events),
        prompt_tokens=3,
        load_seconds=1.5,
        on_progress=lambda _: None,
        on_text=lambda _: None,
    )
    assert (found.text, found.completion_tokens) == ("all", 9)
    assert found.timings == Timings(1.5, 0.25, 2.0)


def test_an_empty_answer() -> None:
    found, _ = answer(Source([], "stop"), [])
    assert (found.text, found.completion_tokens, found.timings.generation) == ("", 0, 0)


def test_an_engine_that_breaks_off_is_no_success() -> None:
    with pytest.raises(EngineFailed, match="without a result"):
        collect(
            iter([TextDelta("half")]),
            prompt_tokens=3,
            load_seconds=0,
            on_progress=lambda progress: None,
            on_text=lambda text: None,
        )
