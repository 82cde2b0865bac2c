"""Digests that stand for the rows and results of a batch, of which there may be a million.

Nothing here imports NumPy before there are many: it takes 90 ms.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistral_cli.batch.formats import LineSummary

FAILED, FLAWED = 1, 2
"""Flags of a line: its row failed; its answer failed a check."""

_KEY_BYTES = 16
_FEW = 50_000  # digests in a set of Python's, 5 MB


def text_digest(text: str) -> int:
    """Return 64 bits for an id or a source, which differ from those of another process.

    Two of a million texts are alike in one run of 40 million; the next run has other digests.
    """
    return hash(text)


def key_digest(key: str) -> bytes:
    """Return the 16 bytes of a key; one that people wrote themselves is hashed."""
    if len(key) == 2 * _KEY_BYTES:
        try:
            return bytes.fromhex(key).ljust(_KEY_BYTES)
        except ValueError:
            pass
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()


@dataclass
class LineColumns:
    """The lines of a file in its order, one column for each property."""

    keys: bytearray = field(default_factory=bytearray)
    ids: array[int] = field(default_factory=lambda: array("q"))
    sources: array[int] = field(default_factory=lambda: array("q"))
    starts: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    flags: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, line: LineSummary, start: int, size: int) -> None:
        """Add the line at `start` of the file, which has `size` bytes."""
        self.keys += key_digest(line.key)
        self.ids.append(hash(line.id))  # as text_digest, a million times
        self.sources.append(hash(line.source) if line.source else 0)
        self.starts.append(start)
        self.sizes.append(size)
        self.flags.append(FAILED * line.failed | FLAWED * line.flawed)


class DigestSet:
    """A set of 64-bit digests. Many are in sorted arrays: 8 bytes each, or 16 while it grows."""

    def __init__(self) -> None:
        self._few: set[int] = set()
        self._runs: list[Any] = []

    def add(self, digests: Sequence[int]) -> None:
        """Add digests."""
        self._few.update(digests)
        if len(self._few) > _FEW:
            import numpy as np

            run = np.sort(np.array(list(self._few), dtype=np.int64))
            self._few.clear()
            # Each run is longer than those behind it, so that each digest is seldom moved.
            while self._runs and len(self._runs[-1]) <= len(run):
                run = np.sort(np.concatenate((self._runs.pop(), run)), kind="stable")
            self._runs.append(run)

    def place_of_known(self, digests: Sequence[int]) -> int | None:
        """Return the place of the first digest that is in the set, or None."""
        places: list[int] = []
        if not self._few.isdisjoint(digests):
            places = [place for place, digest in enumerate(digests) if digest in self._few]
        if not self._runs:
            return min(places, default=None)
        import numpy as np

        wanted = np.array(digests, dtype=np.int64)
        ascending = np.sort(wanted)  # these are found in two thirds of the time
        for run in self._runs:
            near = np.minimum(np.searchsorted(run, ascending), len(run) - 1)
            if not (run[near] == ascending).any():
                continue
            near = np.minimum(np.searchsorted(run, wanted), len(run) - 1)
            places += [int(place) for place in np.flatnonzero(run[near] == wanted)]
        return min(places, default=None)

    def runs(self) -> list[Any]:
        """Return arrays that have all digests together."""
        import numpy as np

        return [*self._runs, np.array(list(self._few), dtype=np.int64)]


class NewLines:
    """The lines of a run, one column for each property: 32 bytes for each."""

    def __init__(self) -> None:
        self.ids, self.starts = array("q"), array("q")
        self.sizes, self.positions = array("q"), array("q")

    def add(self, row_id: str, start: int, size: int, position: int) -> None:
        """Add the line of the row at this `position` of the batch, -1 if it is unknown."""
        self.ids.append(text_digest(row_id))
        self.starts.append(start)
        self.sizes.append(size)
        self.positions.append(position)
