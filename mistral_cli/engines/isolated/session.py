"""A session in a process of its own: what ends that process does not end ours."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.isolated.messages import (
    OpenModel,
    RemoteError,
    Reply,
    StreamEnded,
    StreamStarted,
    WholeStream,
)
from mistral_cli.engines.isolated.watches import GrowthWatch, ThreadsWatch
from mistral_cli.engines.protocol import LoadOptions, TimedSession
from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    Request,
    ScoreRequest,
    Scores,
)
from mistral_cli.errors import EngineFailed, TimedOut

if TYPE_CHECKING:
    from mistral_cli.engines.selection import EngineSelection
    from mistral_cli.models.gguf import GGUF


_OTHER_THREADS = "the engine gets another number of threads"


def open_in_process(
    selection: EngineSelection,
    model: GGUF,
    options: LoadOptions,
    warn: Callable[[str], None],
    process: EngineProcess | None = None,
) -> IsolatedSession:
    """`open_engine` in a process of its own, with the same errors and warnings.

    `process`, if given, was started earlier, to be ready by now. Raises EngineDied if it ends.
    """
    return IsolatedSession(
        OpenModel(selection, model.path, options), warn, process or EngineProcess()
    )


class IsolatedSession(TimedSession):
    """A session in a child process. If that has died, the next call starts another.

    Its streams may run in threads; one too many waits until another has ended. A process that keeps
    growing is restarted between two streams, and so is one whose threads no longer fit the cores.
    """

    def __init__(
        self, opening: OpenModel, warn: Callable[[str], None], process: EngineProcess
    ) -> None:
        self._opening, self._warn = opening, warn
        self._closed = False
        self._starting = threading.Lock()
        self._calls = _CallCount()
        self._process = process
        process.open(opening, warn)
        self._watch(process)
        # Layers that did not fit are not tried again.
        fitting = replace(opening.options, gpu_layers=self.gpu_layers)
        self._opening = replace(opening, options=fitting)

    @property
    def gpu_layers(self) -> int:
        """The layers on the GPU, as the other process reported them."""
        return self._process.opened.gpu_layers

    @property
    def context_length(self) -> int:
        """The context that the other process reported."""
        return self._process.opened.context_length

    @property
    def threads(self) -> int:
        """The threads of the process that runs, or of the next one."""
        return self._opening.options.threads

    @property
    def load_seconds(self) -> float:
        """The time that the load took, without the start of the process."""
        return self._process.opened.load_seconds

    @property
    def alive(self) -> bool:
        """Whether its process is running, as far as we know."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """The id of its process, the last one if that has died."""
        return self._process.pid

    def tokenize(self, text: str) -> list[int]:
        """Token ids from the other process. Raises EngineDied too."""
        self._calls.enter()
        try:
            process = self._running()
            _, answers = process.call(text)
            answer = _checked(answers.get(), process)
        finally:
            self._calls.leave(None, self._restart)
        assert isinstance(answer, list)
        return answer

    def stream(
        self, request: Request, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Stream the events of the other process. Raises EngineDied too.

        Raises TimedOut if the answer is not complete `timeout` seconds after it got a slot:
        the time until then, and the start of a new process, do not count.
        """
        if self._closed:
            raise _closed()
        return self._events(request, timeout)

    def score(
        self, request: ScoreRequest, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Score in the other process; `timeout` and errors as of `stream`."""
        if self._closed:
            raise _closed()
        return self._events(request, timeout)

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._process.close()

    def _events(
        self, request: Request | ScoreRequest, timeout: float | None
    ) -> Generator[Event, None, None]:
        self._calls.enter()
        try:
            yield from self._events_of(self._running(), request, timeout)
        finally:
            self._calls.leave(self._restart_reason(), self._restart)

    def _restart_reason(self) -> str | None:
        """Why the process should be restarted now, or None."""
        if reason := self._growth.warning():
            return reason
        if self._threads and (threads := self._threads.better()):
            options = replace(self._opening.options, threads=threads)
            self._opening = replace(self._opening, options=options)
            return _OTHER_THREADS
        return None

    def _restart(self, reason: str) -> None:
        if not self._closed:
            self._process.end(reason)

    def _events_of(
        self, process: EngineProcess, request: Request | ScoreRequest, timeout: float | None
    ) -> Generator[Event, None, None]:
        deadline = None
        whole = isinstance(request, Request) and not request.stream
        announced = timeout is not None or not whole
        number, answers = process.call(request, announced=announced)
        finished = False
        try:
            while not finished:
                try:
                    answer = _checked(_next(answers, deadline), process)
                except queue.Empty:
                    message = f"the answer is not complete after {timeout:g} seconds"
                    raise TimedOut(message, hint="Raise --timeout.") from None
                if isinstance(answer, StreamStarted):
                    deadline = None if timeout is None else time.monotonic() + timeout
                    answer = PrefillProgress(0, len(request.prompt_token_ids))
                if isinstance(answer, StreamEnded):  # without a Finish where the engine was closed
                    return
                if isinstance(answer, WholeStream):
                    finished = True
                    yield from answer.events
                    return
                assert not isinstance(answer, list)
                finished = isinstance(answer, Finish | Scores)
                yield answer
        finally:
            if not finished:
                process.cancel(number)

    def _watch(self, process: EngineProcess) -> None:
        options = self._opening.options
        self._growth = GrowthWatch(process.pid)
        self._threads = (
            ThreadsWatch(options.threads, process.opened.load_seconds)
            if options.adapts_threads
            else None
        )

    def _running(self) -> EngineProcess:
        """The process, or a new one if that has died."""
        with self._starting:
            if self._closed:
                raise _closed()
            if not self._process.alive:
                death = self._process.died().message
                if death != _OTHER_THREADS:
                    self._warn(f"{death}; starting it again")
                self._process.close()
                process = EngineProcess()
                process.open(self._opening, self._warn)
                self._process = process
                self._watch(process)
                if self._closed:  # meanwhile
                    self._process.close()
                    raise _closed()
            return self._process


class _CallCount:
    """Counts the calls that run, so that the process can be restarted when there is none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running, self._reason = 0, ""
        self._own = threading.local()

    def enter(self) -> None:
        """Count a call; wait first for a restart that is due, unless this thread has a stream."""
        with self._changed:
            own = getattr(self._own, "calls", 0)
            while self._reason and not own:
                self._changed.wait()
            self._own.calls = own + 1
            self._running += 1

    def leave(self, reason: str | None, restart: Callable[[str], None]) -> None:
        """End a call; with a `reason` to `restart`, do so once no other call runs."""
        with self._changed:
            self._own.calls = getattr(self._own, "calls", 1) - 1
            self._running -= 1
            self._reason = self._reason or reason or ""
            if self._reason and not self._running:
                try:
                    restart(self._reason)
                finally:  # others wait
                    self._reason = ""
                    self._changed.notify_all()


def _next(answers: queue.SimpleQueue[Reply | None], deadline: float | None) -> Reply | None:
    """The next reply. Raises queue.Empty if there is none in time."""
    if deadline is None:
        return answers.get()
    left = deadline - time.monotonic()
    if left <= 0:
        raise queue.Empty
    return answers.get(timeout=left)


def _checked(
    answer: Reply | None, process: EngineProcess
) -> Event | list[int] | StreamStarted | WholeStream | StreamEnded:
    if answer is None:
        raise process.died()
    if isinstance(answer, RemoteError):
        raise answer.error()
    return answer


def _closed() -> EngineFailed:
    return EngineFailed("the model is closed", hint="Open it again.")
