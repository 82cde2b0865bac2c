"""Ctrl-C and SIGTERM, handled at points where it is safe to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


class StopRequested(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived. Code that cleans up after Ctrl-C cleans up after this too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def request_stop(number: int) -> None:
    """Raise StopRequested."""
    raise StopRequested(number)


@contextlib.contextmanager
def on_stop(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each SIGINT or SIGTERM, unless it is ignored (nohup)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: act(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
