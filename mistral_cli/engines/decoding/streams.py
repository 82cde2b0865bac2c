"""Run blocking native calls in threads and read their events as iterators.

Python delivers Ctrl-C to the main thread only between bytecodes, so a native call that takes
seconds in the main thread delays it. With the call in a daemon thread, the main thread waits
on a queue, which a signal interrupts at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator

from mistral_cli.engines.types import Event
from mistral_cli.system.interruption import Interruption, on_interruption

Emit = Callable[[Event], bool]
"""Hand one event to the reader. False means that the reader has left: stop."""

Produce = Callable[[Emit, int], None]
"""A native call: it emits its events, and has a slot of the engine to itself while it runs.

It may raise StreamStopped when it is interrupted.
"""

_GRACE_SECONDS = 0.5


class StreamStopped(Exception):
    """The reader of a stream has left, and what its call waited for was interrupted."""


class ThreadedStreams:
    """Streams what native calls emit, as many at once as there are `slots`.

    Safe for use by several threads.
    """

    def __init__(self, slots: int = 1) -> None:
        self._calls: dict[int, _Call] = {}
        self._slots = range(slots)
        self._starting = threading.Lock()

    def run(self, produce: Produce) -> Generator[Event, None, None]:
        """Yield the events of `produce(emit, slot)`, and raise its exception here.

        When every slot is taken, the oldest call ends to make room for this one. Interrupting the
        thread that reads ends the events.
        """
        call = self._start(produce)
        try:
            with on_interruption(call.interrupt):
                while (event := call.events.get()) is not None:
                    if isinstance(event, BaseException):
                        raise event
                    yield event
        finally:
            call.stop()

    def stop(self) -> None:
        """Ask the running calls to stop, and give them a moment to do so."""
        calls = [call for call in list(self._calls.values()) if not call.stopped.is_set()]
        for call in calls:
            call.interrupt()
        for call in calls:
            call.thread.join(_GRACE_SECONDS)

    def _start(self, produce: Produce) -> _Call:
        with self._starting:
            slot = self._free_slot()
            # Last in the dictionary: its order is the order in which the calls began.
            self._calls.pop(slot, None)
            call = self._calls[slot] = _Call(produce, slot)
            call.thread.start()
        return call

    def _free_slot(self) -> int:
        for slot in self._slots:
            if slot not in self._calls or not self._calls[slot].thread.is_alive():
                return slot
        calls = self._calls.items()
        leaving = (slot for slot, call in calls if call.stopped.is_set())
        slot = next(leaving, next(iter(self._calls)))
        self._calls[slot].interrupt()
        self._calls[slot].thread.join()
        return slot


class _Call:
    """One native call in its thread, with the events that it has emitted."""

    def __init__(self, produce: Produce, slot: int) -> None:
        self.events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        self.stopped = threading.Event()
        self._interruption = Interruption()
        self.thread = threading.Thread(
            target=self._work, args=(produce, slot), daemon=True, name="engine"
        )

    def interrupt(self) -> None:
        """End the call and its events; it may run on until native code returns."""
        self.stopped.set()
        self._interruption.interrupt()
        self.events.put(None)

    def stop(self) -> None:
        self.interrupt()
        self.thread.join(_GRACE_SECONDS)

    def _work(self, produce: Produce, slot: int) -> None:
        try:
            with self._interruption.within():
                produce(self._emit, slot)
            self.events.put(None)
        except StreamStopped:
            self.events.put(None)
        except BaseException as error:
            self.events.put(error)

    def _emit(self, event: Event) -> bool:
        self.events.put(event)
        return not self.stopped.is_set()
