"""Ends streams that are silent too long or reach their deadline, from a thread of its own.

A time-out of a socket holds for one read. A server that sends a byte a minute would never reach
it, and the first token may take minutes where the next must come in seconds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_LONGEST_WAIT = 60.0


@dataclass
class WatchedStream:
    """A stream on `connection`: when it must have sent something, and when it must be complete.

    `ended_by` says why the watchdog has ended it, if it has.
    """

    connection: socket.socket | None
    seconds: float
    deadline: float | None
    last: float = field(default_factory=time.monotonic)
    ended_by: str = ""

    def sent(self, seconds: float) -> None:
        """Something arrived; the next must come within `seconds`."""
        self.last, self.seconds = time.monotonic(), seconds

    @property
    def due(self) -> float:
        """When it is ended."""
        silent = self.last + self.seconds
        return silent if self.deadline is None else min(silent, self.deadline)

    def end(self, why: str) -> None:
        """End the stream for the thread that reads it."""
        self.ended_by = self.ended_by or why
        if self.connection is not None:
            with contextlib.suppress(OSError):
                # Not the method of an SSL socket, which would take the reader's state away.
                socket.socket.shutdown(self.connection, socket.SHUT_RDWR)


class Watchdog:
    """Watches streams; safe for several threads."""

    def __init__(self) -> None:
        self._by_id: dict[int, WatchedStream] = {}
        self._changed = threading.Condition()
        self._running = False

    @contextlib.contextmanager
    def watch(self, stream: WatchedStream) -> Iterator[WatchedStream]:
        """Watch `stream` until the block ends."""
        with self._changed:
            self._by_id[id(stream)] = stream
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, daemon=True, name="watchdog").start()
            self._changed.notify()
        try:
            yield stream
        finally:
            with self._changed:
                self._by_id.pop(id(stream), None)

    def end_all(self) -> None:
        """End every stream."""
        with self._changed:
            for stream in self._by_id.values():
                stream.end("closed")

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for stream in self._by_id.values():
                    if stream.due <= now and not stream.ended_by:
                        late = stream.deadline is not None and stream.deadline <= now
                        stream.end("deadline" if late else "silence")
                waiting = [each.due for each in self._by_id.values() if not each.ended_by]
                self._changed.wait(min([_LONGEST_WAIT, *(max(d - now, 0.001) for d in waiting)]))
