"""Interrupt a thread that waits: for a queue, or for a reply."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_here = threading.local()


class Interruption:
    """One thread runs `within` it, and any other may `interrupt` that one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self._happened = False

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """Let this thread be interrupted."""
        _here.interruption = self
        try:
            yield
        finally:
            del _here.interruption

    def interrupt(self) -> None:
        """Run the actions by which the thread ends what it waits for, now and later."""
        with self._lock:
            self._happened = True
            for action in self._actions:
                action()

    @contextlib.contextmanager
    def _calls(self, action: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            self._actions.append(action)
            if self._happened:
                action()
        try:
            yield
        finally:
            with self._lock:
                self._actions.remove(action)


@contextlib.contextmanager
def on_interruption(action: Callable[[], None]) -> Iterator[None]:
    """Have `action` called, by another thread, if this thread is interrupted meanwhile.

    It must not block. In a thread that cannot be interrupted this does nothing.
    """
    interruption: Interruption | None = getattr(_here, "interruption", None)
    with interruption._calls(action) if interruption else contextlib.nullcontext():
        yield
