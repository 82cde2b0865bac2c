"""The page of a batch that shows the values extracted from its rows, in the rows' texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch import failures
from mistral_cli.structured.highlights.page import HighlightsPage, Section, check_highlights
from mistral_cli.structured.spans import ValueSpan
from mistral_cli.structured.spec import Extraction

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.generation.task import Task

_MAX_ROWS = 1000
_MAX_TEXT = 8_000_000  # characters in total, so that a browser can still open the page

HOW_TO_SEE_MORE = (
    "To see other rows, run the command again with only their inputs: with the same -o, rows that "
    "have a result are not processed again."
)


def check_page(task: Task, options: BatchOptions) -> None:
    """Raise UsageError if the page would overwrite another output, or a file that is not one."""
    if task.html:
        others = {"-o": options.output, "--report": options.report}
        check_highlights(task.html, {**others, "--output-dir": options.output_dir})


@dataclass
class RowHighlights:
    """The page about the first rows of a batch, and the records of this run that it shows."""

    path: Path
    prompts: RowPrompts
    _records: dict[str, Record] = field(default_factory=dict)
    _shown: dict[str, WorkItem] = field(default_factory=dict)
    _size: int = 0
    _is_full: bool = False

    def see(self, items: Iterable[WorkItem]) -> None:
        """Choose the rows to show: the first ones, as many as a browser can show."""
        for item in items:
            self._size += len(item.row.text)
            too_large = bool(self._shown) and self._size > _MAX_TEXT
            self._is_full = self._is_full or too_large or len(self._shown) >= _MAX_ROWS
            if self._is_full:
                return
            self._shown[item.row.id] = item

    def keep(self, record: Record) -> None:
        """Keep a record of this run: stdout is not read back."""
        item = self._shown.get(str(record["id"]))
        if item and record.get("key") == item.key:
            self._records[item.row.id] = record

    def write(self, existing: Iterable[Record], facts: Mapping[str, str], total: int) -> None:
        """Write the page, also with the `existing` records; `total` is the number of rows.

        Raises MistralCliError.
        """
        for each in existing:
            self.keep(each)
        page = HighlightsPage(self.path)
        failed = 0
        for row_id, item in self._shown.items():
            record = self._records.get(row_id)
            if record is None:
                continue
            if failures.is_failed(record):
                failed += 1
            elif extraction := _extraction(record):
                page.sections.append(self._section(item, record, extraction))
        page.write(facts, self._notes(len(page.sections), failed, total))

    def _section(self, item: WorkItem, record: Record, extraction: Extraction) -> Section:
        spec = self.prompts.builder.spec
        assert spec
        text = self.prompts.text_of(item.row).text
        listed = record.get("warnings")
        warnings = [str(each) for each in listed] if isinstance(listed, list) else []
        return Section.of(item.row.id, text, extraction, spec.schema, warnings)

    def _notes(self, shown: int, failed: int, total: int) -> list[str]:
        """Say which rows the page does not show."""
        left_out = total - len(self._shown)
        missing = len(self._shown) - shown - failed
        reasons = [f"{failed:,} failed"] if failed else []
        reasons += [f"{missing:,} have no result yet"] if missing else []
        reasons += [f"{left_out:,} are left out, so that the page stays small"] if left_out else []
        if not reasons:
            return []
        note = f"This page shows {shown:,} of {total:,} rows: {', '.join(reasons)}."
        return [f"{note} {HOW_TO_SEE_MORE}" if left_out else note]


def _extraction(record: Record) -> Extraction | None:
    """Return the value in a record and its spans; None if people edited it until it has none."""
    if "data" in record:
        return Extraction(record["data"], tuple(_spans(record.get("spans"))))
    try:  # the format of OpenAI's Batch API has it as a text, without spans
        return Extraction(json.loads(record.get("text") or ""))
    except (ValueError, TypeError, RecursionError):
        return None


def _spans(listed: Any) -> Iterable[ValueSpan]:
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("path"), str):
            start, end = each.get("start"), each.get("end")
            if isinstance(start, int) and isinstance(end, int):
                yield ValueSpan(each["path"], start, end)
