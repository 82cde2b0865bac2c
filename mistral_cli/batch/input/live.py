"""Rows that a thread reads ahead, so that those which have arrived can be answered meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_MOST_ITEMS = 1000
_MOST_CHARACTERS = 4 * 2**20


class ReadAhead(Generic[Item]):
    """Iterates over `items` on a thread of its own; an exception is raised where it occurred.

    At most 1000 items, or 4 million characters by `size_of` an item, are read ahead.
    """

    def __init__(self, items: Iterator[Item], size_of: Callable[[Item], int]) -> None:
        self._items, self._size_of = items, size_of
        self._ready = deque[Item]()
        self._characters = 0
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        # A daemon: it may wait for a pipe that never ends when the program does.
        threading.Thread(target=self._read, name="rows", daemon=True).start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._changed:
            while not self._ready and not self._ended:
                self._changed.wait()
            if not self._ready:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopIteration
            item = self._ready.popleft()
            self._characters -= self._size_of(item)
            self._changed.notify()
            return item

    def is_ready(self) -> bool:
        """Whether the next item, or the end, can be had without waiting."""
        return bool(self._ready) or self._ended

    def _read(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    while len(self._ready) >= _MOST_ITEMS or self._characters >= _MOST_CHARACTERS:
                        self._changed.wait()
                    self._ready.append(item)
                    self._characters += self._size_of(item)
                    self._changed.notify()
        except BaseException as error:  # raised in the thread that iterates
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()
