"""The bytes of an input in blocks: of a file, or of stdin as they arrive."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.texts.compressed import expanded, is_compressed, whole
from mistral_cli.texts.inputs import STDIN, STDIN_TIMEOUTS, display_name
from mistral_cli.texts.stdin import NoInput, is_live, read_blocks, stdin_blocks

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

_FIRST_BLOCK = 1 << 20  # bytes from which an encoding and a delimiter are guessed
_BLOCK = 1 << 18
_HINT = "Name files, globs or folders, or pipe the rows in."


class InputBlocks:
    """The bytes of an input in blocks, decompressed; iterate over them once.

    `start` is the first block. If the input `is_live`, a block is what has arrived, and there may
    be no end.
    """

    def __init__(self, blocks: Iterator[bytes], name: str, size: int | None) -> None:
        """`size` is the number of bytes in a file, 0 if it is unknown, None for a live input."""
        self.is_live = size is None
        self._size, self._taken, self._name = size, 0, name
        first = next(blocks, b"")
        self._is_compressed = is_compressed(first)
        self._blocks = expanded(self._counted(chain((first,), blocks)), name)
        self.start = next(self._blocks, b"")

    @property
    def fraction(self) -> float | None:
        """The part that has been read, from 0 to 1; None if that is unknown."""
        return self._taken / self._size if self._size else None

    def __iter__(self) -> Iterator[bytes]:
        return chain((self.start,), self._blocks)

    def whole(self) -> bytes:
        """Return all bytes. Raises UsageError for a compressed file that becomes too large."""
        return whole(self, self._name) if self._is_compressed else b"".join(self)

    def _counted(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self._taken += len(block)
            yield block


def open_file(path: Path) -> InputBlocks:
    """Open a file or a named pipe. Raises UsageError if it cannot be read."""
    try:
        status = path.stat()
        blocks = _file_blocks(path, is_file=stat.S_ISREG(status.st_mode))
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        return InputBlocks(blocks, display_name(path), size)
    except FileNotFoundError:
        raise UsageError(f"{display_name(path)} does not exist", hint="Check the name.") from None
    except OSError as error:
        raise unreadable(path, error) from error


def open_stdin(terminal: Terminal, *, is_named: bool) -> InputBlocks:
    """Open stdin. If it was not named, it may be one that never ends: do not wait.

    Raises UsageError.
    """
    if not is_named and terminal.stdin_is_terminal:
        raise UsageError("there are no rows", hint=_HINT)
    try:
        blocks = stdin_blocks(terminal.stdin, None if is_named else STDIN_TIMEOUTS.alone)
        if isinstance(blocks, NoInput):
            raise UsageError(f"stdin cannot be read: {blocks.value}", hint=_HINT)
        return InputBlocks(blocks, "stdin", None if is_live(terminal.stdin) else 0)
    except OSError as error:
        raise unreadable(STDIN, error) from error


def is_endless(path: Path, terminal: Terminal) -> bool:
    """Whether the bytes of an input may come one by one, and never end."""
    if path == STDIN:
        return is_live(terminal.stdin)
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def unreadable(path: Path, error: OSError) -> UsageError:
    """Return the error for an input that cannot be read."""
    return UsageError(
        f"{display_name(path)} cannot be read: {error.strerror or error}",
        hint=_HINT if path == STDIN else "Check its permissions.",
    )


def _file_blocks(path: Path, *, is_file: bool) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        if not is_file:
            yield from read_blocks(file.fileno())
            return
        size = _FIRST_BLOCK
        while block := os.read(file.fileno(), size):
            yield block
            size = _BLOCK
