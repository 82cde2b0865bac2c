"""What a results file is reduced to when a run ends: which lines, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mistral_cli.batch.digests import DigestSet, NewLines
    from mistral_cli.batch.index import Numbers, ResultIndex

_MOST_BYTES = 4 * 2**20  # copied at once
_LAST = np.iinfo(np.int64).max


class Compaction:
    """The lines of `index` that stay, and the `new` ones behind them, or in input order."""

    def __init__(
        self,
        index: ResultIndex,
        new: NewLines,
        *,
        ordered: bool,
        present: DigestSet | None,
        prune: bool,
    ) -> None:
        """`present` and `prune` as in FileSink.finish."""
        self._index = index
        pruned = index.orphans(present) if prune and present else None
        kept = index.kept(new.ids, pruned=pruned, complete=present is not None)
        self._old = np.flatnonzero(kept)
        self._starts = np.concatenate((index.starts[kept], _array(new.starts)))
        self._sizes = np.concatenate((index.sizes[kept], _array(new.sizes)))
        self._order = np.arange(len(self._starts))
        if ordered:  # unknown rows last
            position = np.concatenate((index.position[kept], _array(new.positions)))
            self._order = np.argsort(np.where(position < 0, _LAST, position), kind="stable")

    @property
    def changes(self) -> bool:
        """Whether the file is not yet as it should be."""
        if self._index.any_renamed or len(self._old) < len(self._index):
            return True
        return bool((np.diff(self._order) != 1).any())

    def parts(
        self,
        read: Callable[[int, int], bytes],
        rename: Callable[[bytes, str, str], bytes],
    ) -> Iterator[bytes]:
        """Yield the content, many lines at once where they are together.

        `read` returns the bytes of the file from a start, so many; `rename` returns a line with
        another id and source.
        """
        begin = end = 0
        for place in self._order.tolist():
            start, size = int(self._starts[place]), int(self._sizes[place])
            name = self._new_name(place)
            if start != end or name or end - begin > _MOST_BYTES:
                yield read(begin, end - begin)
                begin = end = start
            if name:
                yield rename(read(start, size), *name)
                begin = start + size
            end = start + size
        yield read(begin, end - begin)

    def _new_name(self, place: int) -> tuple[str, str] | None:
        if not self._index.any_renamed or place >= len(self._old):
            return None
        return self._index.renamed(int(self._old[place]))


def _array(numbers: object) -> Numbers:
    return np.array(numbers, dtype=np.int64)
