"""Events of an engine → one answer: stop strings, what was said, how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from mistral_cli.engines.types import (
    Event,
    Finish,
    FinishReason,
    PrefillProgress,
    TextDelta,
)
from mistral_cli.errors import EngineFailed


@dataclass(frozen=True)
class Timings:
    """Seconds; `prompt` runs from when the engine begins to the first token of the answer."""

    load: float
    prompt: float
    generation: float


@dataclass(frozen=True)
class Answer:
    """A whole answer and how it came about; `prompt_tokens` are all that were read for it.

    `cached_tokens` of them the engine did not compute, having done so before.
    """

    text: str
    finish_reason: FinishReason
    completion_tokens: int
    timings: Timings
    prompt_tokens: int = 0
    cached_tokens: int = 0


def collect(
    events: Iterator[Event],
    *,
    prompt_tokens: int,
    load_seconds: float,
    on_progress: Callable[[PrefillProgress], None],
    on_text: Callable[[str], None],
) -> Answer:
    """Drain `events`, handing on progress and text as they come. Raises EngineFailed."""
    started = time.perf_counter()
    first = started
    parts: list[str] = []
    finish: Finish | None = None
    cached = 0
    for event in events:
        match event:
            case PrefillProgress(done):
                if done == 0:  # until now it waited for a slot
                    started = time.perf_counter()
                on_progress(event)
                cached = event.cached
            case TextDelta(text):
                first = first if parts else time.perf_counter()
                parts.append(text)
                on_text(text)
            case Finish():
                finish = event
    if finish is None:
        raise EngineFailed("the engine stopped without a result", hint="Try another --engine.")
    ended = time.perf_counter()
    first = first if parts else ended
    timings = Timings(load_seconds, *(finish.seconds or (first - started, ended - first)))
    text = "".join(parts)
    tokens = finish.completion_tokens
    return Answer(text, finish.reason, tokens, timings, prompt_tokens, cached)


def until_stop(
    events: Generator[Event, None, None], stop: Sequence[str]
) -> Generator[Event, None, None]:
    """End `events` before the first of the `stop` texts, even one split over pieces.

    Text that may be the beginning of a stop text is held back until it is known. The cut
    is where the earliest stop text begins, however the text is split.
    """
    stop = [text for text in stop if text]
    held, count = "", 0
    with closing(events):
        for event in events:
            if isinstance(event, PrefillProgress):
                yield event
                continue
            if isinstance(event, TextDelta):
                held, count = held + event.text, count + 1
            last = isinstance(event, Finish)
            certain = len(held) if last else len(held) - _possible_beginning(held, stop)
            end = _first_stop(held, stop)
            if end is not None and end <= certain:
                events.close()  # before the reader is told: computing on would be in vain
                yield TextDelta(held[:end])
                yield Finish("stop", count)
                return
            if certain or not last:
                yield TextDelta(held[:certain])
            held = held[certain:]
            if last:
                yield event


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    found = [position for s in stop if (position := text.find(s)) >= 0]
    return min(found, default=None)


def _possible_beginning(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of `text` that some stop text begins with."""
    lengths = (
        n for s in stop for n in range(min(len(s) - 1, len(text)), 0, -1) if text.endswith(s[:n])
    )
    return max(lengths, default=0)
