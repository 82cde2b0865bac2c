"""Ctrl-C and SIGTERM, heard where it is safe to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


class StopAsked(KeyboardInterrupt):
    """SIGINT or SIGTERM came. Whatever cleans up after a Ctrl-C does so after this."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stop(number: int) -> None:
    """Raise StopAsked."""
    raise StopAsked(number)


@contextlib.contextmanager
def on_stop(act: Callable[[int], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `act` with their number, unless they are ignored (nohup)."""
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
