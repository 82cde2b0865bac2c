"""Run a request for JSON. Where the answer runs away, end that value and let the model go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mistral_cli.generation.answer import AnswerEnded, join_parts
from mistral_cli.structured.completion import (
    is_complete,
    last_ending,
    required_names,
    with_least_value,
)
from mistral_cli.structured.runaways import Limits, Part, Runaway, RunawayWatch

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.planner import PreparedRequest
    from mistral_cli.generation.session import Executor
    from mistral_cli.structured.spec import BoundSpec

# What ends a value. A number ends before what follows it, which the model writes.
_CLOSING: Mapping[Part, bytes] = {
    "string": b'"',
    "list": b"]",
    "object": b"}",
    "number": b",]}",
}

_MOST = 12  # values to end in one answer: each costs a prefill of what was written since


@dataclass(frozen=True)
class Attempt:
    """An answer, with a warning for each of its values that ran away and was ended.

    `runs_away` is True if it was cut in one that could not be ended.
    """

    answer: Answer
    warnings: tuple[str, ...] = ()
    runs_away: bool = False


def ask(
    prepared: PreparedRequest,
    executor: Executor,
    request: Request,
    on_text: Callable[[str], None],
    *,
    on_restart: Callable[[str], None] = lambda _: None,
    sent: Callable[[], int] = lambda: 0,
    more_room: bool = False,
    tight: bool = False,
) -> Attempt:
    """Run `request`, with an end to each value that repeats itself or grows beyond its text.

    `on_text` gets the text as it streams, `on_restart` the beginning that takes its place when a
    value was ended; the first `sent` characters stay. With `more_room` an answer that was cut will
    be asked for again with a higher limit; without, its longest parts are ended. `tight` limits are
    for a second attempt.
    """
    spec = prepared.prompt.spec
    assert spec is not None
    asking = _Asking(prepared, executor, request, spec, on_text, on_restart, sent, more_room, tight)
    return asking.run()


@dataclass
class _Asking:
    """The steps of one attempt: `parts` are the answers so far, `ended` the values."""

    prepared: PreparedRequest
    executor: Executor
    request: Request
    spec: BoundSpec
    on_text: Callable[[str], None]
    on_restart: Callable[[str], None]
    sent: Callable[[], int]
    more_room: bool
    tight: bool
    parts: list[Answer] = field(default_factory=list)
    ended: list[Runaway] = field(default_factory=list)
    known: list[Runaway] = field(default_factory=list)
    stays_short: bool = False

    def run(self) -> Attempt:
        """Ask, end what runs away, and ask for the rest, until the answer ends by itself."""
        request, text = self.request, ""
        while True:
            text, found = self._stream(request, text)
            beginning = self._end(text, found) if found else None
            if found and beginning is None:
                beginning = self._write_again(text, found)
            if found and beginning is not None:
                self.ended.append(found)
            elif found and len(self.ended) == _MOST:  # the whole answer runs away
                self.parts[-1] = replace(self.parts[-1], finish_reason="length")
            elif found and self.parts[-1].finish_reason == "stop":
                beginning = text  # the grammar does not let it end: the model goes on
            if beginning is None:
                return self._attempt(text)
            if is_complete(beginning):
                self.on_restart(beginning)
                self.parts[-1] = replace(self.parts[-1], finish_reason="stop")
                return self._attempt(beginning)
            left = self.request.max_tokens - self._count(beginning)
            more = self.executor.planner.with_written(self.request, self.parts[0], beginning, left)
            if more is None:
                self.parts[-1] = replace(self.parts[-1], finish_reason="length")
                return self._attempt(beginning)
            self.on_restart(beginning)
            request, text = more, beginning

    def _stream(self, request: Request, written: str) -> tuple[str, Runaway | None]:
        """The text with what the model added to `written`, and what runs away in it."""
        limits = (Limits.when_cut if self.tight else Limits.while_streaming)(self.spec.text)
        watch, found = RunawayWatch(self.spec.text, limits, self.known), None
        watch.feed(written)

        def read(delta: str) -> None:
            nonlocal found
            self.on_text(delta)
            if found := watch.feed(delta):
                raise AnswerEnded

        answer = self.executor.ask(request, self.prepared.stop, read)
        self.parts.append(answer)
        text = written + answer.text
        if not found and answer.finish_reason == "length" and not self.more_room:
            found = self._when_cut(text)
        if found:
            found = replace(found, kept=max(found.kept, self.sent()))
            self.known.append(found)
        return text, found

    def _when_cut(self, text: str) -> Runaway | None:
        watch = RunawayWatch(self.spec.text, Limits.when_cut(self.spec.text), self.known)
        if found := watch.feed(text):
            return found
        return next((each for each in watch.idle() if self._end(text, each) is not None), None)

    def _end(self, text: str, found: Runaway) -> str | None:
        """`text` up to the end of the value that was `found`; None if it cannot end there."""
        if len(self.ended) == _MOST:
            return None
        # A second attempt may have a grammar of its own.
        grammar, kept = self.request.grammar or self.spec.grammar, text[: found.kept]
        if found.part == "nesting":
            return with_least_value(grammar, kept, required_names(self.spec.spec.schema))
        closing = _CLOSING[found.part]
        if found.part == "number" and not found.path and is_complete(kept):
            return kept  # nothing follows it
        start = found.start + 1 if found.part == "string" else found.kept
        end = last_ending(grammar, kept, start, closing)
        return None if end is None else kept[:end] + closing[:1].decode().strip(",")

    def _write_again(self, text: str, found: Runaway) -> str | None:
        """`text` up to a string that cannot end where it runs away.

        The model writes it again, and all strings with a pattern from here on, under a grammar that
        keeps them short. None if there is no such grammar.
        """
        if found.part != "string" or self.stays_short or len(self.ended) == _MOST:
            return None
        beginning = text[: found.start].rstrip(" ")  # a space belongs to the token after it
        grammar = self.spec.grammar_of_short_strings(beginning)
        if grammar is None:
            return None
        self.stays_short = True
        self.request = replace(self.request, grammar=grammar)
        return beginning

    def _attempt(self, text: str) -> Attempt:
        tokens = self.parts[0].completion_tokens
        if len(self.parts) > 1:  # the tokenizer may need more tokens for it than the model did
            tokens = min(self._count(text), self.request.max_tokens)
        answer = join_parts(self.parts, text, self.parts[-1].finish_reason, tokens)
        runs_away = len(self.known) > len(self.ended)
        return Attempt(answer, tuple(each.message for each in self.ended), runs_away)

    def _count(self, text: str) -> int:
        return len(self.executor.planner.tokenize(text))
