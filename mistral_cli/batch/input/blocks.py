"""The bytes of an input in blocks: of a file, or of stdin as they arrive."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.texts.inputs import STDIN, STDIN_TIMEOUTS, display_name
from mistral_cli.texts.stdin import NoInput, is_live, read_blocks, stdin_blocks

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

_FIRST_BLOCK = 1 << 20  # bytes from which an encoding and a delimiter are guessed
_BLOCK = 1 << 18
_HINT = "Name files, globs or folders, or pipe the rows in."


class InputBlocks:
    """The bytes of an input in blocks; iterate over them once.

    `start` is the first block. `size` is the number of bytes in a file, None if it may be endless:
    then it `is_live`, and a block is what has arrived. `taken` counts the bytes that were read.
    """

    def __init__(self, blocks: Iterator[bytes], size: int | None) -> None:
        self.size, self.taken = size, 0
        self._blocks = blocks
        self.start = next(blocks, b"")

    @property
    def is_live(self) -> bool:
        """Whether a block is what has arrived so far."""
        return self.size is None

    def __iter__(self) -> Iterator[bytes]:
        for block in chain((self.start,), self._blocks):
            self.taken += len(block)
            yield block

    def whole(self) -> bytes:
        """Return all bytes."""
        return b"".join(self)


def open_file(path: Path) -> InputBlocks:
    """Open a file or a named pipe. Raises UsageError if it cannot be read."""
    try:
        status = path.stat()
        blocks = _file_blocks(path, is_file=stat.S_ISREG(status.st_mode))
        return InputBlocks(blocks, status.st_size if stat.S_ISREG(status.st_mode) else None)
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
        return InputBlocks(blocks, None if is_live(terminal.stdin) else 0)
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
