"""Around a native call that opens a model: Ctrl-C, and the library's log."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once; Python would wait until the native call returns."""
    previous = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or previous is not signal.default_int_handler:  # nohup ignores it
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _log(file: Path | None) -> IO[bytes]:
    return file.open("a+b") if file else tempfile.TemporaryFile()


@contextlib.contextmanager
def captured_stderr(file: Path | None = None) -> Iterator[Callable[[], str]]:
    """Send file descriptor 2 to a file, and yield a function that reads it.

    By default it is a temporary file. Another process can read `file` if this one crashes.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
        sys.stderr.flush()
    with _log(file) as log, contextlib.ExitStack() as restore:

        def read() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        try:
            saved = os.dup(2)
        except OSError:
            restore.callback(os.close, 2)
        else:
            restore.callback(os.close, saved)
            restore.callback(os.dup2, saved, 2)
        os.dup2(log.fileno(), 2)
        yield read


def first_error(log: str) -> str:
    """The first line of a library's log that contains "error", or an empty text."""
    lines = [line.strip() for line in log.splitlines() if "error" in line.lower()]
    return lines[0] if lines else ""
