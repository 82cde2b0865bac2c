"""Results as lines on stdout, which a later run cannot see."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from mistral_cli.batch.resume import RowStatus
from mistral_cli.system.stdout import write_json

if TYPE_CHECKING:
    from mistral_cli.batch.digests import DigestSet
    from mistral_cli.batch.formats import LineFormat, Record
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.system.terminal import Terminal


class StdoutSink:
    """Lines on stdout, each flushed, in the order of the inputs if `ordered`."""

    name = "stdout"
    is_flush_due = True

    def __init__(self, line_format: LineFormat, terminal: Terminal, *, ordered: bool) -> None:
        self._format, self._terminal, self._ordered = line_format, terminal, ordered
        self._awaited_ids = deque[str]()
        self._held: dict[str, Record] = {}
        self.written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def claim(self, items: Sequence[WorkItem], options: BatchOptions) -> list[RowStatus]:  # noqa: ARG002
        """Return that all items are to do: stdout holds no earlier results."""
        return [RowStatus.TO_DO] * len(items)

    def expect(self, item: WorkItem) -> None:
        """Note that the item is being processed; its record will be added."""
        if self._ordered:
            self._awaited_ids.append(item.row.id)

    def earlier(self, row_id: str) -> Record | None:  # noqa: ARG002
        """Return no record: nothing is read back."""
        return None

    def forget(self, row_id: str) -> None:
        """Do nothing: there is no earlier record."""

    def add(self, record: Record) -> None:
        """Write the record, or hold it until the records before it in order are written."""
        self.written += 1
        if not self._ordered:
            self._write(record)
            return
        self._held[record["id"]] = record
        while self._awaited_ids and self._awaited_ids[0] in self._held:
            self._write(self._held.pop(self._awaited_ids.popleft()))

    def flush(self) -> None:
        """Do nothing: each line has been flushed."""

    def orphans(self, present: DigestSet) -> int:  # noqa: ARG002
        """Return 0: nothing is read back."""
        return 0

    def finish(
        self,
        *,
        ordered: bool,  # noqa: ARG002
        present: DigestSet | None,  # noqa: ARG002
        prune: bool = False,  # noqa: ARG002
        hurried: bool = False,  # noqa: ARG002
    ) -> None:
        """Write the records that waited for rows which were not reached."""
        for row_id in self._awaited_ids:
            if row_id in self._held:
                self._write(self._held.pop(row_id))

    def existing_records(self) -> Iterable[Record]:
        """Return no records: nothing is read back."""
        return ()

    def recent_records(self) -> Iterable[Record]:
        """Return no records: nothing is read back."""
        return ()

    def settled_records(self, *, failed: bool) -> Iterable[Record]:  # noqa: ARG002
        """Return no records: nothing is read back."""
        return ()

    def _write(self, record: Record) -> None:
        write_json(self._terminal, self._format.encode(record), on_one_line=True)
