"""The standard streams of this process, closed ones included.

Whatever fails while stdout is written (a full disk, a lost mount, `>&-`) raises one error, for
all that write there: our answers and Typer's help pages.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TextIO

from mistral_cli.errors import MistralCliError

_EXACT_PATHS = "mistral_cli.exact_paths"
_STDOUT = 1
_HINTS = {
    errno.EBADF: "Open it, or discard the output: > /dev/null.",
    errno.ENOSPC: "Free space on the disk that stdout is redirected to.",
    errno.EDQUOT: "Free space on the disk that stdout is redirected to.",
    errno.EFBIG: "Raise the limit on the size of files: ulimit -f.",
}


class OutputFailed(MistralCliError):
    """Writing to stdout failed: it is closed, or on a full disk or a lost mount."""


def open_standard_streams() -> None:
    """Make the three streams usable in any locale; call it once, before a file is opened.

    A closed descriptor would become that of the next file, which native libraries would then
    write their messages to. Reading a closed stdin and writing a closed stdout still fails.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # as gnulib's `stdopen` does
            mode = os.O_RDONLY if descriptor == _STDOUT else os.O_RDWR
            os.open(os.devnull, mode)  # takes the lowest free descriptor, which is this one
            os.set_inheritable(descriptor, True)
    stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _printable(_stdout()), _printable(stderr)


def _stdout() -> TextIO:
    if sys.stdout is not sys.__stdout__:  # redirected by a caller in this process
        return sys.stdout
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    file = open(_STDOUT, "wb", closefd=False)  # noqa: SIM115
    return _Stdout(file, encoding=encoding, line_buffering=file.isatty())


class _Stdout(TextIOWrapper):
    """Raises OutputFailed, or BrokenPipeError for a closed pipe.

    Not a raw file below the buffer: Ctrl-C between its write and the buffer's account of that
    would write the same bytes twice.
    """

    def write(self, text: str) -> int:
        with self._translated():
            return super().write(text)

    def flush(self) -> None:
        with self._translated():
            super().flush()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError as error:
            _drop_the_rest(self)
            # Without its errno: Typer ends with 1 for EPIPE, and we with 0.
            raise BrokenPipeError(error.strerror) from error
        except OSError as error:
            _drop_the_rest(self)
            raise _output_failed(error) from error


def _output_failed(error: OSError) -> OutputFailed:
    """Return our error for one that occurred while stdout was written."""
    reason = "it is closed" if error.errno == errno.EBADF else error.strerror
    hint = _HINTS.get(error.errno or 0, "Check where stdout is redirected to.")
    return OutputFailed(f"cannot write to stdout: {reason}", hint=hint)


def _drop_the_rest(stream: TextIO) -> None:
    """Send a failed `stream` to /dev/null: the interpreter flushes it again at exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _printable(stream: TextIO) -> TextIO:
    """Return `stream`, which then takes any text: cron's locale may be ASCII."""
    if isinstance(stream, TextIOWrapper):
        if stream.isatty():
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8", errors=_EXACT_PATHS)
    return stream


def _exact_paths(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write the bytes of a path that is not UTF-8 as the system returned them; others as "?"."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start]
    is_byte = "\udc80" <= wrong <= "\udcff"
    return wrong.encode("utf-8", "surrogateescape") if is_byte else "?", error.start + 1


codecs.register_error(_EXACT_PATHS, _exact_paths)
