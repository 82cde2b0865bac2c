"""Results as lines on stdout, which a later run cannot see."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from mistral_cli.batch.resume import ResultLine, ResumePlan
from mistral_cli.system.stdout import write_json

if TYPE_CHECKING:
    from mistral_cli.batch.formats import LineFormat, Record
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.system.terminal import Terminal


class StdoutSink:
    """Lines on stdout, in the order of the inputs if `--ordered` asks for it."""

    name = "stdout"
    has_failed_checks = False

    def __init__(self, line_format: LineFormat, terminal: Terminal) -> None:
        self._format, self._terminal = line_format, terminal
        self._awaited_ids = deque[str]()
        self._held: dict[str, Record] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def resume_plan(self, items: Sequence[WorkItem], options: BatchOptions) -> ResumePlan:
        """Plan all items: stdout holds no earlier results."""
        if options.ordered:
            self._awaited_ids.extend(item.row.id for item in items[: options.limit])
        return ResumePlan(list(items), [], [])

    def add(self, record: Record) -> None:
        """Write the record, or hold it until the records before it in order are written."""
        if not self._awaited_ids:
            self._write(record)
            return
        self._held[record["id"]] = record
        while self._awaited_ids and self._awaited_ids[0] in self._held:
            self._write(self._held.pop(self._awaited_ids.popleft()))

    def orphans(self, items: Sequence[WorkItem]) -> Sequence[ResultLine]:  # noqa: ARG002
        """Return no lines: nothing is read back."""
        return ()

    def finish(
        self,
        items: Sequence[WorkItem],  # noqa: ARG002
        *,
        ordered: bool,  # noqa: ARG002
        prune: bool = False,  # noqa: ARG002
    ) -> None:
        """Write the records that waited for rows which were not reached."""
        for row_id in self._awaited_ids:
            if row_id in self._held:
                self._write(self._held.pop(row_id))

    def existing_records(self) -> Iterable[Record]:
        """Return no records: nothing is read back."""
        return ()

    def _write(self, record: Record) -> None:
        write_json(self._terminal, self._format.encode(record), on_one_line=True)
