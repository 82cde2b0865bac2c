"""JSON that reaches its limit over HTTP, closed there if the request says so (`on_limit`)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mistral_cli.engines.reasoning import rest_of_answer, stream_answer
from mistral_cli.engines.stop_texts import until_stop
from mistral_cli.engines.types import Event, Finish, ReasoningDelta, TextDelta
from mistral_cli.structured.closing import ClosedPaths, Closing, Continuation, reserve
from mistral_cli.structured.json_cursor import JsonCursor

if TYPE_CHECKING:
    from mistral_cli.engines.reasoning import SessionCalls
    from mistral_cli.engines.types import Request
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.structured.spec import BoundSpec


@dataclass(frozen=True)
class ClosedFinish(Finish):
    """The last event of an answer that was closed at `paths`."""

    paths: ClosedPaths = field(kw_only=True)


@dataclass(frozen=True)
class JsonClosing:
    """How to close the answers to one request, each a value of `spec`.

    `sends` is True if a client gets the text as it streams: then what it has must stay.
    """

    spec: BoundSpec
    model: GGUF
    context_length: int
    sends: bool

    def events(
        self, calls: SessionCalls, request: Request, stop: Sequence[str]
    ) -> Generator[Event, None, None]:
        """Yield the events of `request` until a `stop` text, and close what reaches the limit.

        Raises OutputInvalid if no value that begins like the answer is valid.
        """
        room = self.context_length - len(request.prompt_token_ids)
        limit = min(request.max_tokens, room)
        kept = reserve(self.spec, self._grammar, limit, lambda text: len(calls.tokenize(text)))
        first = replace(request, max_tokens=limit - kept)
        text, thought = _HeldJson(holds=self.sends), ""
        with closing(until_stop(stream_answer(calls, first), stop)) as events:
            for event in events:
                if isinstance(event, TextDelta):
                    yield replace(event, text=text.feed(event.text))
                elif isinstance(event, Finish):
                    finish = event
                else:
                    thought += event.text if isinstance(event, ReasoningDelta) else ""
                    yield event
        if finish.reason == "length" and text.written.strip():
            more = _Continuing(self, calls, request, stop, thought)
            closed = Closing(
                self.spec,
                self._grammar,
                limit,
                finish.completion_tokens,
                lambda part: len(calls.tokenize(part)),
                more.go_on,
                sent=text.sent,
            ).run(text.written)
            if closed:
                yield TextDelta(closed.text[text.sent :], tokens=0)
                yield _finish(closed.tokens, closed.paths, finish.reasoning_tokens)
                return
        yield TextDelta(text.rest, tokens=0)
        yield finish

    @property
    def _grammar(self) -> str:
        return self.spec.grammar


def _finish(tokens: int, paths: ClosedPaths | None, reasoning_tokens: int) -> Finish:
    if paths is None:
        return Finish("stop", tokens, None, reasoning_tokens)
    return ClosedFinish("stop", tokens, None, reasoning_tokens, paths=paths)


class _HeldJson:
    """The text of an answer. What closing may have to drop is held back, if it `holds` at all.

    That is a key without a value, half an escape, and half a number. The first `sent` characters
    of what was `written` are not held.
    """

    def __init__(self, *, holds: bool) -> None:
        self._cursor = JsonCursor()
        self._holds = holds
        self.written = ""
        self.sent = 0

    def feed(self, delta: str) -> str:
        """Take the next piece, and return what need not be held."""
        self.written += delta
        if not self._holds:
            return ""
        for byte in delta.encode():
            self._cursor.feed(byte)
        whole = len(self._cursor.text[: self._cursor.whole()].decode())
        start, self.sent = self.sent, max(self.sent, whole)
        return self.written[start : self.sent]

    @property
    def rest(self) -> str:
        """What is held."""
        return self.written[self.sent :]


@dataclass(frozen=True)
class _Continuing:
    """Lets the model write on in the slot of the first request."""

    how: JsonClosing
    calls: SessionCalls
    request: Request
    stop: Sequence[str]
    thought: str

    def go_on(self, written: str, max_tokens: int) -> Continuation | None:
        """What the model writes behind `written`; None without room in the context."""
        rest = rest_of_answer(
            self.request,
            self.thought,
            written,
            max_tokens,
            model=self.how.model,
            tokenize=self.calls.tokenize,
            context_length=self.how.context_length,
        )
        if rest is None:
            return None
        text, ended, tokens = "", False, 0
        with closing(until_stop(stream_answer(self.calls, rest), self.stop)) as events:
            for event in events:
                if isinstance(event, TextDelta):
                    text += event.text
                elif isinstance(event, Finish):
                    ended = event.reason == "stop" and event.stop_text is None
                    tokens = event.completion_tokens
        return Continuation(text, tokens, ended)
