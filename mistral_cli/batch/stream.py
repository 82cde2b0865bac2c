"""The rows of a batch → what is left to do, a window at a time: read, looked up, forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from mistral_cli.batch.digests import DigestSet, text_digest
from mistral_cli.batch.input.rows import check_unique, repeated_id
from mistral_cli.batch.orphans import UnreadInputs
from mistral_cli.batch.prompts import WorkItem
from mistral_cli.batch.resume import RowStatus

if TYPE_CHECKING:
    from mistral_cli.batch.highlights import RowHighlights
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.keys import RowKeys
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import RowPrompts
    from mistral_cli.batch.sinks.open import Sink
    from mistral_cli.batch.windows import RowSource, RowWindows


class WorkStream:
    """The items of a batch that are left to do, in the order of the rows.

    `rows`, `done` and `failed` count the rows read so far, and those with a result or a failure of
    an earlier run, and `unfinished` the others. `to_do` and `size` are those of the items, which
    `--limit` may cut. `ended` says that all rows have been read. A thread may iterate while another
    reads these numbers.
    """

    def __init__(
        self,
        first: Sequence[Row],
        windows: RowWindows,
        source: RowSource,
        prompts: RowPrompts,
        keys: RowKeys,
        sink: Sink,
        options: BatchOptions,
        highlights: RowHighlights | None,
    ) -> None:
        self.rows = self.done = self.failed = self.to_do = self.size = 0
        self.unfinished = 0
        self.ids = DigestSet()
        self._first, self._windows, self._source = first, windows, source
        self._prompts, self._keys, self._sink, self._options = prompts, keys, sink, options
        self._highlights = highlights
        self._unread = UnreadInputs(options)
        self._sizes: dict[str, int] = {}  # of the items in flight
        self._lock, self._closed = threading.Lock(), False
        self._head: list[WorkItem] = []
        self._rest = self._lists()
        self.ended = False

    def head(self) -> list[WorkItem]:
        """Return the items of the first window that has any; `items` yields them again."""
        while not self._head and (items := next(self._rest, None)) is not None:
            self._head = items
        return self._head

    def items(self) -> Iterator[WorkItem]:
        """Yield the items, reading rows as they are needed. Raises UsageError for a repeated id."""
        for items in chain((self._head,), self._rest):
            for item in items:
                self._sizes[item.row.id] = item.size
                self._sink.expect(item)
                yield item

    def finished(self, row_id: str) -> int:
        """Return the size of an item whose record is there."""
        return self._sizes.pop(row_id, 0)

    def close(self) -> None:
        """Read no further window."""
        with self._lock:
            self._closed = True

    @property
    def fraction(self) -> float | None:
        """How much of the inputs has been read, from 0 to 1, or None."""
        return 1.0 if self.ended else self._source.fraction()

    @property
    def present(self) -> DigestSet | None:
        """The ids of all rows, or None if not all have been read."""
        return self.ids if self.ended else None

    @property
    def orphans(self) -> int:
        """The number of results whose rows are no longer among the inputs, as far as is known."""
        return self._sink.orphans(self.ids) if self.ended and self._source.are_all else 0

    def check_inputs(self) -> None:
        """Raise UsageError if `--prune` would remove results of rows that could not be read."""
        self._unread.check(self._source.unread())

    def _lists(self) -> Iterator[list[WorkItem]]:
        """Yield the items of each window, none where all rows of it have results."""
        for rows in chain((self._first,), self._windows):
            with self._lock:
                if self._closed:
                    return
                items = self._left_of(rows)
                self.to_do += len(items)
                self.size += sum(item.size for item in items)
                self.ended = self._windows.ended
            yield items
            if self.to_do == self._options.limit and self._source.is_endless:
                return
        self.ended = True

    def _left_of(self, rows: Sequence[Row]) -> list[WorkItem]:
        self._check_unique(rows)
        self._prompts.check_requests(rows)
        self._unread.see(rows)
        items = []
        for number, row in enumerate(rows, self.rows):
            key = self._keys.of(row)
            items.append(WorkItem(row, key.key, number, key.prompt, key.error))
        if self._highlights:
            self._highlights.see(items)
        left: list[WorkItem] = []
        for item, status in zip(items, self._sink.claim(items, self._options), strict=True):
            if status is RowStatus.TO_DO:
                left.append(item)
            else:
                self.done += status is RowStatus.DONE
                self.failed += status is RowStatus.FAILED
        self.rows += len(rows)
        self.unfinished += len(left)
        if self._options.limit:
            left = left[: self._options.limit - self.to_do]
        return left

    def _check_unique(self, rows: Sequence[Row]) -> None:
        """Raise UsageError for an id that another row has: its result would be that row's too."""
        digests = [text_digest(row.id) for row in rows]
        if len({row.id for row in rows}) < len(rows):
            check_unique(rows)
        if (place := self.ids.place_of_known(digests)) is not None:
            raise repeated_id(rows[place], f"the second time in {rows[place].source}")
        self.ids.add(digests)
