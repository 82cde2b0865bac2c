"""The items of a JSON list, each as soon as it is written to its end."""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecoder

_LAST = '}]"'  # what ends an item whatever comes next
_NEXT = tuple(", ]\n")


class ItemReader:
    """Reads a list piece by piece."""

    def __init__(self) -> None:
        self._text = ""
        self._inside = False
        self._decoder = JSONDecoder()

    @property
    def closed(self) -> bool:
        """Whether the list has come to its end."""
        return self._inside and self._text.strip(", \n") == "]"

    def feed(self, piece: str) -> Iterator[str]:
        """Yield the text of every item that `piece` completes."""
        self._text += piece
        if not self._inside:
            self._inside = self._text.lstrip().startswith("[")
            self._text = self._text.lstrip().removeprefix("[")
        while self._inside:
            self._text = self._text.lstrip(", \n")
            try:
                _, end = self._decoder.raw_decode(self._text)
            except (ValueError, RecursionError):  # not whole yet, or never to be
                return
            if self._text[end - 1] not in _LAST and self._text[end : end + 1] not in _NEXT:
                return  # a number may go on
            yield self._text[:end]
            self._text = self._text[end:]
