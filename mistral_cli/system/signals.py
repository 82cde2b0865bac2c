"""Stop signals: SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed).

The first one raises StopRequested in the main thread, or calls what `on_stop` has set; later ones
do not interrupt the clean-up. A thread ends the process if that takes too long, or if the main
thread is in native code and never raises. A native call that holds Python's lock stops that thread
too: around it `native_load` lets the signal itself end the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mistral_cli.errors import HungUp, Interrupted, Stopped, Terminated
from mistral_cli.system.files import remove_leftovers, removed_if_killed

if TYPE_CHECKING:
    from types import FrameType

STOP_SIGNALS = {signal.SIGINT: Interrupted, signal.SIGTERM: Terminated, signal.SIGHUP: HungUp}
"""Each stop signal, with the error of a command that reports what it has done until then."""

_CLEAN_UP_SECONDS = 1.2  # closing an engine and a results file takes a tenth of it


class StopRequested(KeyboardInterrupt):
    """A stop signal arrived. Code that cleans up after Ctrl-C cleans up after this too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stop_error(number: int, message: str, hint: str) -> Stopped:
    """Return the error of a command that such a signal has stopped."""
    return STOP_SIGNALS[signal.Signals(number)](message, hint=hint)


class _Watch:
    """The thread that ends the process some time after a stop signal, unless it is `patient`."""

    def __init__(self) -> None:
        self.patient = self.raised = False
        self._wakeup: int | None = None

    def start(self) -> None:
        reading, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        # Python writes the number there even while the main thread is in native code.
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        threading.Thread(target=self._run, args=(reading,), daemon=True, name="stop").start()

    def wake(self, number: int) -> None:
        """Start the time limit; a library may have replaced the wake-up descriptor."""
        if self._wakeup is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._wakeup, bytes([number]))

    def _run(self, reading: int) -> None:
        while True:
            number = os.read(reading, 1)[0]
            if number in STOP_SIGNALS and not self.patient:
                time.sleep(_CLEAN_UP_SECONDS)
                remove_leftovers()
                os._exit(128 + number)


_watch = _Watch()


def watch() -> None:
    """Limit how long this process goes on after a stop signal. Call it once, in the main thread."""
    _watch.start()
    sys.unraisablehook = _report_unraisable


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise StopRequested in the main thread on the first stop signal."""
    _watch.raised = False
    with _handlers(_raise_stop):
        yield


def request_stop(number: int) -> None:
    """Raise StopRequested, but only once: a second one would interrupt what the first cleans up."""
    _watch.patient = False
    _watch.wake(number)
    if not _watch.raised:
        _watch.raised = True
        raise StopRequested(number)


@contextlib.contextmanager
def on_stop(act: Callable[[int], None], *, patient: bool = False) -> Iterator[None]:
    """Call `act` with the number of each stop signal, unless it is ignored (nohup).

    If `patient`, the process may go on until `act` calls `request_stop`.
    """
    before, _watch.patient = _watch.patient, patient
    try:
        with _handlers(lambda number, _: act(number)):
            yield
    finally:
        _watch.patient = before


@contextlib.contextmanager
def native_load() -> Iterator[None]:
    """Around native code that opens a model: no exception may leave it half-way.

    A stop signal ends the process at once, since Python could act on it only when the native call
    returns. Inside `on_stop` it is held back until then.
    """
    raising = (_raise_stop, signal.default_int_handler)
    if any(signal.getsignal(number) in raising for number in STOP_SIGNALS):
        with removed_if_killed(), _handlers(signal.SIG_DFL):
            yield
        return
    held = list[int]()
    with on_stop(held.append):
        yield
    if held:
        request_stop(held[0])


def _raise_stop(number: int, _: FrameType | None) -> None:
    request_stop(number)


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """Set the handler of each stop signal that is not ignored; only the main thread can."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if threading.current_thread() is not threading.main_thread():
        before = {}
    try:
        for number, previous in before.items():
            if previous is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Report an exception in a destructor; a stop that arrives there needs no traceback."""
    if not isinstance(unraisable.exc_value, StopRequested):
        sys.__unraisablehook__(unraisable)
