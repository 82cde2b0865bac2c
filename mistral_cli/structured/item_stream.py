"""The items of a JSON list, each as soon as the model has written it to its end."""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecoder

_SELF_CLOSING = '}]"'  # an item that ends with one of these is complete, whatever follows
_AFTER_ITEM = tuple(", ]\n")


class ItemReader:
    """Reads a JSON list from successive deltas of its text."""

    def __init__(self) -> None:
        self._text = ""
        self._inside = False
        self._decoder = JSONDecoder()
        self._read = 0
        self.end = 0
        """Characters up to the end of the last item that was yielded."""

    @property
    def closed(self) -> bool:
        """Whether the list has ended."""
        return self._inside and self._text.strip(", \n") == "]"

    def feed(self, delta: str) -> Iterator[str]:
        """Yield the text of every item that `delta` completes."""
        self._text += delta
        self._read += len(delta)
        if not self._inside:
            self._inside = self._text.lstrip().startswith("[")
            self._text = self._text.lstrip().removeprefix("[")
        while self._inside:
            self._text = self._text.lstrip(", \n")
            try:
                _, end = self._decoder.raw_decode(self._text)
            except (ValueError, RecursionError):  # incomplete, or not JSON at all
                return
            if self._text[end - 1] not in _SELF_CLOSING and (
                self._text[end : end + 1] not in _AFTER_ITEM
            ):
                return  # the next delta may add digits to this number
            item, self._text = self._text[:end], self._text[end:]
            self.end = self._read - len(self._text)
            yield item
