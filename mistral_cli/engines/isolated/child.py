"""The process of an engine: it opens a model and serves calls that arrive over a pipe.

`python -m mistral_cli.engines.isolated.child PIPE LIFE`: two file descriptors. Nothing is ever
written to LIFE, whose other end closes when the process that started us ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
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
)
from mistral_cli.engines.loader import open_engine
from mistral_cli.engines.types import ScoreRequest
from mistral_cli.models.gguf import read_gguf

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Session
    from mistral_cli.engines.types import Request


_GATHER_SECONDS = 0.001
"""Each message wakes threads of the other process, so replies wait for those of other slots."""


class _Server:
    """Serves the calls of one connection, each in a thread of its own."""

    def __init__(self, session: Session, parallel: int, connection: Connection[Any, Any]) -> None:
        self._session, self._parallel = session, parallel
        self._connection = connection
        # One stream too many would end the oldest.
        self._slots = threading.Semaphore(parallel)
        self._cancelled: dict[int, threading.Event] = {}
        self._replies: queue.SimpleQueue[tuple[int, Reply]] = queue.SimpleQueue()

    def serve(self) -> NoReturn:
        """Serve until the other side closes the pipe."""
        threading.Thread(target=self._send, daemon=True).start()
        while True:
            message = _receive(self._connection)
            if isinstance(message, Cancel):
                if cancelled := self._cancelled.get(message.number):
                    cancelled.set()
            else:
                cancelled = self._cancelled[message.number] = threading.Event()
                threading.Thread(target=self._call, args=(message, cancelled), daemon=True).start()

    def _call(self, call: Call, cancelled: threading.Event) -> None:
        number = call.number
        try:
            if isinstance(call.argument, str):
                self._replies.put((number, self._session.tokenize(call.argument)))
            else:
                self._stream(number, call.argument, cancelled)
        except Exception as error:
            self._replies.put((number, RemoteError.of(error)))
        del self._cancelled[number]
        self._replies.put((number, StreamEnded()))

    def _stream(
        self, number: int, request: Request | ScoreRequest, cancelled: threading.Event
    ) -> None:
        with self._slots:
            if cancelled.is_set():
                return
            self._replies.put((number, StreamStarted()))
            if isinstance(request, ScoreRequest):
                events = self._session.score(request)
            else:
                events = self._session.stream(request)
            with contextlib.closing(events):
                for event in events:
                    if cancelled.is_set():
                        return
                    self._replies.put((number, event))

    def _send(self) -> None:
        while True:
            batch = [self._replies.get()]
            if self._parallel > 1:
                time.sleep(_GATHER_SECONDS)
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._replies.get_nowait())
            try:
                self._connection.send(batch)
            except OSError:
                os._exit(0)


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
