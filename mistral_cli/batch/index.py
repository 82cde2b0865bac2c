"""The index of a results file: which line is the result of which row, in 74 bytes a line.

A million lines as objects take 500 MB; as sorted arrays of digests they take 74 MB, with the orders
to search them by. Sorting them takes 0.3 s, and finding a window of 1,000 rows 0.2 ms.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from mistral_cli.batch.digests import FAILED, FLAWED, key_digest, text_digest
from mistral_cli.system.files import temporary_file_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mistral_cli.batch.digests import DigestSet, LineColumns
    from mistral_cli.batch.prompts import WorkItem

    Numbers = NDArray[Any]

_NONE = -1


class ResultIndex:
    """Assigns the lines of a file to rows, a window of rows at a time.

    A row takes the newest line with its key and its id. A row without one takes a line that has its
    key and that no row has taken, because ids change when files are renamed or lines are inserted;
    not with `ids_are_fixed`. `position` has the row of each line, or -1.
    """

    def __init__(self, columns: LineColumns, *, ids_are_fixed: bool) -> None:
        self._ids_are_fixed = ids_are_fixed
        keys = np.frombuffer(columns.keys, dtype="<u8").reshape(-1, 2)
        self._high, self._low = keys[:, 0], keys[:, 1]
        self._ids = np.frombuffer(columns.ids, dtype=np.int64)
        self._sources = np.frombuffer(columns.sources, dtype=np.int64)
        self.starts = np.frombuffer(columns.starts, dtype=np.int64)
        self.sizes = np.frombuffer(columns.sizes, dtype=np.int64)
        self._flags = flags = np.frombuffer(columns.flags, dtype=np.uint8)
        self.failed, self.flawed = (flags & FAILED) > 0, (flags & FLAWED) > 0
        self._any_failed = bool(self.failed.any())
        count = len(columns)
        self.position = np.full(count, _NONE, dtype=np.int64)
        self._owner = self._ids.copy()  # the id of the row that has the line
        self._settled = np.zeros(count, dtype=bool)  # its row is not processed in this run
        self._replaced = np.zeros(count, dtype=bool)
        self._renamed = _RenamedRows()
        self._group_seen = np.zeros(count, dtype=bool)
        self._groups: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def claim(self, items: Sequence[WorkItem]) -> list[int]:
        """Return for each item the line with its result, or -1; the line is its from now on."""
        if not len(self):
            return [_NONE] * len(items)
        digests = np.frombuffer(b"".join([key_digest(item.key) for item in items]), dtype="<u8")
        high, low = digests[::2], digests[1::2]
        ids = np.array([text_digest(item.row.id) for item in items], dtype=np.int64)
        lines = self._exact(high, low, ids)
        first = np.full(len(items), _NONE)
        # A search takes half a microsecond among a million lines, so only for what is needed:
        # rows without a line, and where a failure may be retried under another id.
        wanted = np.full(len(items), True) if self._any_failed else lines < 0
        if wanted.any():
            first[wanted] = self._first_of_groups(high[wanted])
            self._group_seen[first[first >= 0]] = True
        numbers = np.array([item.number for item in items], dtype=np.int64)
        self.position[lines[lines >= 0]] = numbers[lines >= 0]  # before others look for spare ones
        if not self._ids_are_fixed:
            for row in np.flatnonzero((lines < 0) & (first >= 0)).tolist():
                lines[row] = self._spare(int(first[row]), int(low[row]))
                if lines[row] >= 0:
                    self.position[lines[row]] = numbers[row]
        claimed = lines[lines >= 0]
        self._owner[claimed] = ids[lines >= 0]
        self._note_renamed(items, lines, ids)
        return _ints(lines)

    def newest_of_ids(self, ids: Sequence[str]) -> list[int]:
        """Return for each id of a row its newest line, or -1, whatever key that has."""
        digests = np.array([text_digest(each) for each in ids], dtype=np.int64)
        return _ints(_last_equal(self._by_id, digests))

    def flags_of(self, lines: Sequence[int]) -> list[int | None]:
        """Return the flags of each line, None for -1."""
        flags = self._flags[np.array(lines, dtype=np.int64)].tolist()
        return [None if line < 0 else flag for line, flag in zip(lines, flags, strict=True)]

    def settle(self, lines: Sequence[int]) -> None:
        """Note that the rows of the lines are not processed in this run."""
        self._settled[np.array(lines, dtype=np.int64)] = True

    def release(self, line: int) -> None:
        """Note that the row of the line has a newer result."""
        self.position[line] = _NONE
        self._replaced[line] = True

    def settled(self, *, failed: bool) -> Iterator[int]:
        """Yield the lines of rows that failed in an earlier run, or whose answer is flawed."""
        kind = self.failed if failed else self.flawed & ~self.failed
        yield from np.flatnonzero(self._settled & kind).tolist()

    def orphans(self, present: DigestSet) -> Numbers:
        """Return which lines are of no present row: neither its result nor an old one of it."""
        orphaned: Numbers = ~self._replaced
        for run in present.runs():
            orphaned &= ~np.isin(self._ids, run)
        return np.where(self.position < 0, orphaned, False)

    def orphaned_answers(self, present: DigestSet) -> list[int]:
        """Return the lines of orphans that are not failures."""
        return _ints(np.flatnonzero(self.orphans(present) & ~self.failed))

    def kept(self, added: Sequence[int], *, pruned: Numbers | None, complete: bool) -> Numbers:
        """Return which lines stay when a run ends; `added` are the ids of new results.

        The result of a row stays. Any other line does unless it is superseded, repeated or
        `pruned`: so a changed row keeps its old result until it has a new one. If the rows are not
        `complete`, a failure may be that of a row that was not read.
        """
        claimed: Numbers = self.position >= 0
        with_result = np.concatenate((self._owner[claimed], np.array(added, dtype=np.int64)))
        left_out = np.isin(self._ids, with_result) | self._replaced | ~self._is_newest
        if complete and self._any_failed:  # it was retried, perhaps under another id
            left_out |= self.failed & self._group_seen[self._first_of_groups(self._high)]
        if pruned is not None:
            left_out |= pruned
        return np.where(claimed, True, ~left_out)

    def renamed(self, line: int) -> tuple[str, str] | None:
        """Return the id and source that the row of the line has now, if they are others."""
        return self._renamed.get(line) if self.position[line] >= 0 else None

    @property
    def any_renamed(self) -> bool:
        """Whether a row that has a line has been renamed."""
        return bool(self._renamed)

    def _exact(self, high: Numbers, low: Numbers, ids: Numbers) -> Numbers:
        lines = _last_equal(self._by_pair, high ^ ids.view(np.uint64))
        # Another row may have taken it, one with the same content.
        good = (lines >= 0) & (self._low[lines] == low) & (self.position[lines] < 0)
        return np.where(good, lines, _NONE)

    def _spare(self, first: int, low: int) -> int:
        """Return a line of the group that no row has, an answer if there is one, the newest."""
        values, lines = self._by_key
        after = int(np.searchsorted(values, values[first], side="right"))
        if after == first + 1:
            line = int(lines[first])
            return line if self._is_free(line, low) else _NONE
        if first not in self._groups:  # the answers last
            group = lines[first:after].tolist()
            self._groups[first] = sorted(group, key=lambda each: not self.failed[each])
        group = self._groups[first]
        while group:
            if self._is_free(line := group.pop(), low):
                return line
        return _NONE

    def _is_free(self, line: int, low: int) -> bool:
        return bool(
            self.position[line] < 0 and self._is_newest[line] and int(self._low[line]) == low
        )

    def _first_of_groups(self, high: Numbers) -> Numbers:
        """Return the place in the order by key where lines with each key begin, or -1."""
        ordered = self._by_key.values
        first = np.searchsorted(ordered, high)
        found = ordered[np.minimum(first, len(ordered) - 1)] == high
        return np.where(found, first, _NONE)

    def _note_renamed(self, items: Sequence[WorkItem], lines: Numbers, ids: Numbers) -> None:
        sources = np.array([text_digest(item.row.source) for item in items], dtype=np.int64)
        earlier = self._sources[lines]
        same = (self._ids[lines] == ids) & ((earlier == sources) | (earlier == 0))
        for row in np.flatnonzero((lines >= 0) & ~same).tolist():
            self._renamed.put(int(lines[row]), items[row].row.id, items[row].row.source)

    @cached_property
    def _by_pair(self) -> _Order:
        return _Order.of(self._high ^ self._ids.view(np.uint64))

    @cached_property
    def _by_key(self) -> _Order:
        return _Order.of(self._high)

    @cached_property
    def _by_id(self) -> _Order:
        return _Order.of(self._ids)

    @cached_property
    def _is_newest(self) -> Numbers:
        """Which lines are the newest with their key and id."""
        values, lines = self._by_pair
        newest = np.ones(len(self), dtype=bool)
        newest[lines[:-1][values[:-1] == values[1:]]] = False
        return newest


class _Order(NamedTuple):
    """Digests in ascending order, and the line of each; equal ones in the order of the file."""

    values: Numbers
    lines: Numbers

    @classmethod
    def of(cls, digests: Numbers) -> Self:
        lines = np.argsort(digests, kind="stable")
        return cls(digests[lines], lines)


def _ints(numbers: Numbers) -> list[int]:
    return [int(number) for number in numbers.tolist()]


def _last_equal(order: _Order, wanted: Numbers) -> Numbers:
    """Return for each wanted digest the last line that has it, or -1."""
    if not len(order.values):
        return np.full(len(wanted), _NONE)
    places = np.searchsorted(order.values, wanted, side="right") - 1
    found = (places >= 0) & (order.values[places] == wanted)
    return np.where(found, order.lines[places], _NONE)


class _RenamedRows:
    """The new ids and sources of renamed rows, in a temporary file: there may be a million."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._starts: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._starts)

    def put(self, line: int, row_id: str, source: str) -> None:
        with temporary_file_errors():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with us
            self._starts[line] = self._file.seek(0, 2)
            self._file.write(json.dumps([row_id, source]).encode() + b"\n")

    def get(self, line: int) -> tuple[str, str] | None:
        if self._file is None or line not in self._starts:
            return None
        self._file.seek(self._starts[line])
        row_id, source = json.loads(self._file.readline())
        return row_id, source
