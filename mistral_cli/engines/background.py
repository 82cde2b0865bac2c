"""Run a blocking native call in a thread and read its events as an iterator.

Python delivers Ctrl-C to the main thread only between bytecodes, so a native call that
takes seconds there makes the program deaf. In a daemon thread it leaves the main thread
waiting on a queue, which a signal interrupts at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from .base import Event

Emit = Callable[[Event], bool]
"""Hand one event to the reader; False means that nobody reads any more: stop."""

_GRACE_SECONDS = 0.5


class BackgroundStream:
    """Streams what `produce` emits; remembers whether its thread still runs."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether native code may still be running: then nothing may be freed."""
        return self._thread is not None and self._thread.is_alive()

    def run(self, produce: Callable[[Emit], None]) -> Iterator[Event]:
        """Yield the events of `produce(emit)`; its exception is raised here."""
        events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        stop = threading.Event()

        def emit(event: Event) -> bool:
            events.put(event)
            return not stop.is_set()

        def work() -> None:
            try:
                produce(emit)
                events.put(None)
            except BaseException as error:
                events.put(error)

        self.wait()
        self._thread = threading.Thread(target=work, daemon=True, name="engine")
        self._thread.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            stop.set()
            self._thread.join(_GRACE_SECONDS)

    def wait(self) -> None:
        """Wait until the last native call has returned."""
        if self._thread is not None:
            self._thread.join()
