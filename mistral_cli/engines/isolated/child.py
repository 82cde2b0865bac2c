"""What runs in the process of an engine: open it, and answer what is asked over a pipe.

`python -m mistral_cli.engines.isolated.child PIPE LIFE`: two file descriptors. Nothing is
ever written to LIFE: it ends when the process that started us does.
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
    Answer,
    Ask,
    Begun,
    Cancel,
    Ended,
    Failure,
    Open,
    Opened,
    Warned,
)
from mistral_cli.engines.loader import open_engine
from mistral_cli.models.gguf import read_gguf

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Session
    from mistral_cli.engines.types import Request


class _Desk:
    """Answers the questions of one connection, each in a thread of its own."""

    def __init__(self, engine: Session, parallel: int, connection: Connection[Any, Any]) -> None:
        self._engine = engine
        self._connection = connection
        # One more stream would end the oldest.
        self._slots = threading.Semaphore(parallel)
        self._cancelled: dict[int, threading.Event] = {}
        self._answers: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()

    def serve(self) -> NoReturn:
        """Answer until the other side has gone."""
        threading.Thread(target=self._send, daemon=True).start()
        while True:
            message = _receive(self._connection)
            if isinstance(message, Cancel):
                if cancelled := self._cancelled.get(message.number):
                    cancelled.set()
            else:
                cancelled = self._cancelled[message.number] = threading.Event()
                threading.Thread(
                    target=self._answer, args=(message, cancelled), daemon=True
                ).start()

    def _answer(self, ask: Ask, cancelled: threading.Event) -> None:
        number = ask.number
        try:
            if isinstance(ask.question, str):
                self._answers.put((number, self._engine.tokenize(ask.question)))
            else:
                self._stream(number, ask.question, cancelled)
        except Exception as error:
            self._answers.put((number, Failure.of(error)))
        del self._cancelled[number]
        self._answers.put((number, Ended()))

    def _stream(self, number: int, request: Request, cancelled: threading.Event) -> None:
        with self._slots:
            if cancelled.is_set():
                return
            self._answers.put((number, Begun()))
            with contextlib.closing(self._engine.stream(request)) as events:
                for event in events:
                    if cancelled.is_set():
                        return
                    self._answers.put((number, event))

    def _send(self) -> None:
        while True:
            batch = [self._answers.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._answers.get_nowait())
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
    """Open what the first message names, say so or why not, and serve."""
    pipe, life = map(int, sys.argv[1:])
    die_with(life)
    connection: Connection[Any, Any] = Connection(pipe)
    opening: Open = _receive(connection)
    try:
        model = read_gguf(opening.path)  # after a crash, hours later, it may be another file
        started = time.perf_counter()
        engine = open_engine(
            opening.selection, model, opening.options, lambda text: connection.send(Warned(text))
        )
    except Exception as error:
        connection.send(Failure.of(error))
        return
    seconds = time.perf_counter() - started
    connection.send(Opened(engine.gpu_layers, engine.context_length, seconds))
    most = opening.selection.backend.max_parallel or opening.options.parallel
    _Desk(engine, min(most, opening.options.parallel), connection).serve()


if __name__ == "__main__":
    main()
