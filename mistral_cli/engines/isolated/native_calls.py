"""Around a native call that opens a model: the library's log."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


def _log(file: Path | None) -> IO[bytes]:
    return file.open("a+b") if file else tempfile.TemporaryFile()


@contextlib.contextmanager
def captured_stderr(file: Path | None = None) -> Iterator[Callable[[], str]]:
    """Send file descriptor 2 to a file, and yield a function that reads what arrived there.

    By default it is a temporary file. Another process can read `file` if this one crashes.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None
        sys.stderr.flush()
    with _log(file) as log, contextlib.ExitStack() as restore:
        start = log.seek(0, os.SEEK_END)

        def read() -> str:
            log.seek(start)
            return log.read().decode(errors="replace")

        try:
            saved = os.dup(2)
        except OSError as error:
            if error.errno != errno.EBADF:  # a limit: then it must not be closed
                raise
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
