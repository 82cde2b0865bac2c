"""An engine in a process of its own: what ends that process does not end ours."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.isolated.messages import Answer, Begun, Ended, Failure, Open
from mistral_cli.engines.protocol import LoadOptions, Session
from mistral_cli.engines.types import Event, Finish, PrefillProgress, Request
from mistral_cli.errors import EngineFailed, TimedOut

if TYPE_CHECKING:
    from mistral_cli.engines.selection import EngineSelection
    from mistral_cli.models.gguf import GGUF


def open_in_process(
    selection: EngineSelection,
    model: GGUF,
    options: LoadOptions,
    warn: Callable[[str], None],
    process: EngineProcess | None = None,
) -> IsolatedSession:
    """`open_engine` in a process of its own, with the same errors and warnings.

    `process` was started before, to be ready by now. Raises EngineDied where it ends.
    """
    return IsolatedSession(Open(selection, model.path, options), warn, process or EngineProcess())


class IsolatedSession(Session):
    """An engine in a process. Where that has died, the next call starts another.

    Its streams may run in threads; one more than it was opened for waits for another's end.
    """

    def __init__(self, opening: Open, warn: Callable[[str], None], process: EngineProcess) -> None:
        self._opening, self._warn = opening, warn
        self._closed = False
        self._starting = threading.Lock()
        self._process = process
        process.open(opening, warn)
        # What did not fit once is not tried again.
        fitting = replace(opening.options, gpu_layers=self.gpu_layers)
        self._opening = replace(opening, options=fitting)

    @property
    def gpu_layers(self) -> int:
        """See Session."""
        return self._process.opened.gpu_layers

    @property
    def context_length(self) -> int:
        """See Session."""
        return self._process.opened.context_length

    @property
    def load_seconds(self) -> float:
        """What the load took in its process, the start of that not included."""
        return self._process.opened.load_seconds

    @property
    def alive(self) -> bool:
        """Whether its process is running, as far as is known."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """The id of the process that is running, or was last."""
        return self._process.pid

    def tokenize(self, text: str) -> list[int]:
        """See Session. Raises EngineDied too."""
        process = self._running()
        _, answers = process.ask(text)
        answer = _checked(answers.get(), process)
        assert isinstance(answer, list)
        return answer

    def stream(
        self, request: Request, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """See Session. Raises EngineDied too.

        Raises TimedOut where the answer is not complete `timeout` seconds after the work on
        it began; to wait for a new process or for a slot does not count.
        """
        if self._closed:
            raise _closed()
        return self._events(request, timeout)

    def close(self) -> None:
        """See Session."""
        self._closed = True
        self._process.close()

    def _events(self, request: Request, timeout: float | None) -> Generator[Event, None, None]:
        process = self._running()
        deadline = None
        number, answers = process.ask(request)
        finished = False
        try:
            while not finished:
                try:
                    answer = _checked(_next(answers, deadline), process)
                except queue.Empty:
                    message = f"there is no complete answer after {timeout:g} seconds"
                    raise TimedOut(message, hint="Raise --timeout.") from None
                if isinstance(answer, Begun):
                    deadline = None if timeout is None else time.monotonic() + timeout
                    answer = PrefillProgress(0, len(request.prompt_token_ids))
                if isinstance(answer, Ended):  # without a Finish where the engine was closed
                    return
                assert not isinstance(answer, list)
                finished = isinstance(answer, Finish)
                yield answer
        finally:
            if not finished:
                process.cancel(number)

    def _running(self) -> EngineProcess:
        """The process, or another one if that has died."""
        with self._starting:
            if self._closed:
                raise _closed()
            if not self._process.alive:
                self._warn(f"{self._process.died().message}; it is started again")
                self._process.close()
                process = EngineProcess()
                process.open(self._opening, self._warn)
                self._process = process
                if self._closed:  # meanwhile
                    self._process.close()
                    raise _closed()
            return self._process


def _next(answers: queue.SimpleQueue[Answer | None], deadline: float | None) -> Answer | None:
    """The next answer. Raises queue.Empty when there is none in time."""
    if deadline is None:
        return answers.get()
    left = deadline - time.monotonic()
    if left <= 0:
        raise queue.Empty
    return answers.get(timeout=left)


def _checked(answer: Answer | None, process: EngineProcess) -> Event | list[int] | Begun | Ended:
    if answer is None:
        raise process.died()
    if isinstance(answer, Failure):
        raise answer.error()
    return answer


def _closed() -> EngineFailed:
    return EngineFailed("the model is closed", hint="Open it again.")
