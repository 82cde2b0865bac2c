"""The rows of a batch in windows: a thousand at once, or those that have arrived."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row

# The index finds a row in 1 µs in windows of 100 and of 1,000, in 60 µs alone. The context and the
# slots are planned for the first window.
WINDOW = 1000
_PATIENCE_SECONDS = 0.02  # without a new row: those that have arrived are processed


@dataclass(frozen=True)
class RowSource:
    """Where the rows of a batch come from; they are read as they are needed.

    `is_ready` returns whether the next row, or the end, can be had without waiting; without it they
    always can. `is_endless`
    says that there may be no end. If the rows `are_all` of the batch, results of others are
    orphaned. `unread` returns the folders that could not be read, `fraction` how much of the
    inputs has been read, from 0 to 1, or None.
    """

    rows: Iterable[Row]
    is_ready: Callable[[], bool] | None = None
    is_endless: bool = False
    are_all: bool = False
    unread: Callable[[], Sequence[str]] = tuple
    fraction: Callable[[], float | None] = lambda: None


class RowWindows:
    """Iterates over lists of rows; `ended` is true as soon as the last one has been returned.

    It is not yet if the end of a pipe is late.
    """

    def __init__(self, source: RowSource, size: int | None = WINDOW) -> None:
        """`size` is the most rows in a window; None for all in one."""
        self.ended = False
        self._rows, self._size = iter(source.rows), size
        self._is_ready = source.is_ready
        self._first: Row | None = None  # of the next window
        self._error: Exception | None = None  # after the rows that have been returned

    def __iter__(self) -> Iterator[list[Row]]:
        return self

    def __next__(self) -> list[Row]:
        window = self._ready_rows() if self._is_ready is None else self._rows_in_time()
        if not self.ended and self._soon():
            self._first = self._take()
        if not window:
            if self._error:
                raise self._error
            raise StopIteration
        return window

    def _ready_rows(self) -> list[Row]:
        """Take the rows of a window at once, in half a microsecond less for each."""
        window: list[Row] = []
        if (first := self._take()) is None:
            return window
        window.append(first)
        try:
            window.extend(islice(self._rows, self._size and self._size - 1))
        except Exception as error:
            self._error = error
        return window

    def _rows_in_time(self) -> list[Row]:
        """Take the rows of a window as they arrive."""
        window: list[Row] = []
        while self._size is None or len(window) < self._size:
            if window and not self._soon():
                return window
            if (row := self._take()) is None:
                break
            window.append(row)
        return window

    def _take(self) -> Row | None:
        """Return the next row, or None after the last; an error is raised in its turn."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self.ended or self._error:
            return None
        try:
            row = next(self._rows, None)
        except Exception as error:
            self._error = error
            return None
        self.ended = row is None
        return row

    def _soon(self) -> bool:
        if self._is_ready is None or self._is_ready():
            return True
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            time.sleep(0.001)
            if self._is_ready():
                return True
        return False
