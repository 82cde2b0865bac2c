"""The process of an engine: it opens a model and serves calls that arrive over a pipe.

`python -m mistral_cli.engines.isolated.child PIPE LIFE`: two file descriptors. Nothing is ever
written to LIFE, whose other end closes when the process that started us ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

from mistral_cli.engines.isolated.children import die_with
from mistral_cli.engines.isolated.messages import (
    Call,
    Cancel,
    LoadWarning,
    ModelOpened,
    OpenModel,
    RemoteError,
    Reply,
    StreamEnded,
    StreamStarted,
    WholeStream,
)
from mistral_cli.engines.loader import open_engine
from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    Request,
    ScoreRequest,
    TextDelta,
)
from mistral_cli.models.gguf import read_gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mistral_cli.engines.protocol import Session


_SHORT_TEXT = 10_000
"""Characters that are tokenized in a millisecond or two, for which no thread is woken."""

_GATHER_SECONDS = 0.001
"""Each message wakes threads of the other process, so replies wait for those of other slots."""


class _Server:
    """Serves the calls of one connection, each stream in one of as many threads as slots.

    One stream too many would end the oldest.
    """

    def __init__(self, session: Session, parallel: int, connection: Connection[Any, Any]) -> None:
        self._session, self._parallel = session, parallel
        self._connection = connection
        self._streams = queue.SimpleQueue[Call]()
        self._texts = queue.SimpleQueue[Call]()
        self._open, self._cancelled = set[int](), set[int]()
        self._replies = queue.SimpleQueue[tuple[int, Reply, bool]]()

    def serve(self) -> NoReturn:
        """Serve until the other side closes the pipe."""
        works = [self._send, self._tokenize_long, *[self._answer_streams] * self._parallel]
        for work in works:
            threading.Thread(target=work, daemon=True).start()
        while True:
            message = _receive(self._connection)
            if isinstance(message, Cancel):
                if message.number in self._open:
                    self._cancelled.add(message.number)
            elif not isinstance(message.argument, str):
                self._open.add(message.number)
                self._streams.put(message)
            elif len(message.argument) > _SHORT_TEXT:
                self._texts.put(message)
            else:
                self._tokenize(message)

    def _tokenize_long(self) -> None:
        while True:
            self._tokenize(self._texts.get())

    def _tokenize(self, call: Call) -> None:
        assert isinstance(call.argument, str)
        try:
            reply: Reply = self._session.tokenize(call.argument)
        except Exception as error:
            reply = RemoteError.of(error)
        self._replies.put((call.number, reply, True))

    def _answer_streams(self) -> None:
        while True:
            call = self._streams.get()
            number, last = call.number, None
            try:
                last = self._stream(call)
            except Exception as error:
                self._replies.put((number, RemoteError.of(error), False))
            self._open.discard(number)
            self._cancelled.discard(number)
            self._replies.put((number, last or StreamEnded(), True))

    def _stream(self, call: Call) -> WholeStream | None:
        """Reply with the events of a stream; return them if they are sent at once."""
        number, request = call.number, call.argument
        assert isinstance(request, Request | ScoreRequest)
        if number in self._cancelled:
            return None
        if call.announced:
            self._replies.put((number, StreamStarted(), False))
        if isinstance(request, ScoreRequest):
            events = self._session.score(request)
        else:
            events = self._session.stream(request)
        with contextlib.closing(events):
            if isinstance(request, Request) and not request.stream:
                return _whole(events, lambda: number in self._cancelled)
            for event in events:
                if number in self._cancelled:
                    return None
                self._replies.put((number, event, False))
        return None

    def _send(self) -> None:
        while True:
            batch = [self._replies.get()]
            if self._parallel > 1:
                time.sleep(_GATHER_SECONDS)
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._replies.get_nowait())
            try:
                self._connection.send_bytes(pickle.dumps(batch, pickle.HIGHEST_PROTOCOL))
            except OSError:
                os._exit(0)


def _whole(events: Iterable[Event], is_cancelled: Callable[[], bool]) -> WholeStream | None:
    """Gather the events of a stream, the last one with its times; None if it is cancelled."""
    started = time.perf_counter()
    first: float | None = None
    others, deltas = list[Event](), list[TextDelta]()
    for event in events:
        if is_cancelled():
            return None
        if isinstance(event, TextDelta):
            first = first or time.perf_counter()
            deltas.append(event)
        elif isinstance(event, PrefillProgress):
            others = [event]
        elif isinstance(event, Finish):
            text = "".join(delta.text for delta in deltas)
            logprobs = tuple(each for delta in deltas for each in delta.logprobs)
            others.append(TextDelta(text, logprobs, sum(delta.tokens for delta in deltas)))
            ended = time.perf_counter()
            first = first or ended
            seconds = event.seconds or (first - started, ended - first)
            others.append(replace(event, seconds=seconds))
    return WholeStream(tuple(others))


def _receive(connection: Connection[Any, Any]) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        os._exit(0)  # at once: threads may be in native code


def main() -> None:
    """Open what the first message names, report the result, and serve."""
    pipe, life = map(int, sys.argv[1:])
    die_with(life)
    connection: Connection[Any, Any] = Connection(pipe)
    opening: OpenModel = _receive(connection)
    try:
        model = read_gguf(opening.path)  # hours later, after a crash, it may be another file
        started = time.perf_counter()
        session = open_engine(
            opening.selection,
            model,
            opening.options,
            lambda text: connection.send(LoadWarning(text)),
        )
    except Exception as error:
        connection.send(RemoteError.of(error))
        return
    seconds = time.perf_counter() - started
    connection.send(ModelOpened(session.gpu_layers, session.context_length, seconds))
    most = opening.selection.backend.max_parallel or opening.options.parallel
    _Server(session, min(most, opening.options.parallel), connection).serve()


if __name__ == "__main__":
    main()
