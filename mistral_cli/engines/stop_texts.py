"""End an answer before the first of its stop texts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
)


def until_stop(
    events: Generator[Event, None, None], stop: Sequence[str]
) -> Generator[Event, None, None]:
    """End `events` before the first of the `stop` texts, even if it is split over several deltas.

    Text that may be the beginning of a stop text is held back until more text decides it. The
    cut is where the earliest stop text begins, however the text is split.
    """
    texts = [text for text in stop if text]
    return _until(events, texts) if texts else events


def _until(
    events: Generator[Event, None, None], stop: Sequence[str]
) -> Generator[Event, None, None]:
    held, count, thought = _HeldText(), 0, 0
    with closing(events):
        for event in events:
            if isinstance(event, PrefillProgress | ReasoningDelta):
                thought += event.tokens if isinstance(event, ReasoningDelta) else 0
                yield event
                continue
            if isinstance(event, TextDelta):
                held.add(event)
                count += event.tokens
            last = isinstance(event, Finish)
            length = len(held.text)
            certain = length if last else length - _possible_beginning(held.text, stop)
            end = _first_stop(held.text, stop)
            if end is not None and end <= certain:
                events.close()  # first, so that the engine stops computing
                found = next(text for text in stop if held.text.startswith(text, end))
                yield held.take(end)
                yield Finish("stop", count, None, thought, found)
                return
            if certain or not last:
                yield held.take(certain)
            if last:
                yield event


@dataclass
class _HeldText:
    """Text that is held back, and where in it the tokens begin whose log probabilities we have.

    `tokens` counts those of the text; they go with the last of it.
    """

    text: str = ""
    tokens: int = 0
    logprobs: list[tuple[int, TokenLogprob]] = field(default_factory=list)

    def add(self, delta: TextDelta) -> None:
        self.logprobs += [(len(self.text), each) for each in delta.logprobs]
        self.text += delta.text
        self.tokens += delta.tokens

    def take(self, length: int) -> TextDelta:
        """The first `length` characters, with the tokens that begin in them."""
        whole = length == len(self.text)
        taken = tuple(each for start, each in self.logprobs if whole or start < length)
        text, self.text = self.text[:length], self.text[length:]
        self.logprobs = [(start - length, each) for start, each in self.logprobs[len(taken) :]]
        tokens, self.tokens = (self.tokens, 0) if whole else (0, self.tokens)
        return TextDelta(text, taken, tokens)


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    positions = [position for s in stop if (position := text.find(s)) >= 0]
    return min(positions, default=None)


def _possible_beginning(text: str, stop: Sequence[str]) -> int:
    """The length of the longest suffix of `text` that is a prefix of some stop text."""
    lengths = (
        n for s in stop for n in range(min(len(s) - 1, len(text)), 0, -1) if text.endswith(s[:n])
    )
    return max(lengths, default=0)
