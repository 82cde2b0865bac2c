"""Run a blocking native call in a thread and read its events as an iterator.

Python delivers Ctrl-C to the main thread only between bytecodes, so a native call that
takes seconds there makes the program deaf. In a daemon thread it leaves the main thread
waiting on a queue, which a signal interrupts at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator

from mistral_cli.engines.base import Event

Emit = Callable[[Event], bool]
"""Hand one event to the reader; False means that nobody reads any more: stop."""

_GRACE_SECONDS = 0.5


class BackgroundStream:
    """Streams what `produce` emits, one call at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def run(self, produce: Callable[[Emit], None]) -> Generator[Event, None, None]:
        """Yield the events of `produce(emit)`; its exception is raised here.

        Ends the call before it, should that still run.
        """
        self.stop()
        if self._thread is not None:
            self._thread.join()
        events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        stop = self._stop = threading.Event()

        def emit(event: Event) -> bool:
            events.put(event)
            return not stop.is_set()

        def work() -> None:
            try:
                produce(emit)
                events.put(None)
            except BaseException as error:
                events.put(error)

        thread = self._thread = threading.Thread(target=work, daemon=True, name="engine")
        thread.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            stop.set()
            thread.join(_GRACE_SECONDS)

    def stop(self) -> None:
        """Ask the running call to end, and give it a moment to do so."""
        if self._thread is not None and not self._stop.is_set():
            self._stop.set()
            self._thread.join(_GRACE_SECONDS)
