"""Results as a folder with one file for each input file."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.batch.formats import NativeFormat
from mistral_cli.batch.resume import RowStatus
from mistral_cli.batch.sinks.file import FileSink, write_error
from mistral_cli.errors import UsageError
from mistral_cli.generation.summaries.cited import cited_text
from mistral_cli.system.files import atomic_writer, sync_folder
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.batch.digests import DigestSet
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.system.reporter import Reporter

_LEDGER, _TEMPORARY = ".mistral-cli-batch.jsonl", ".mistral-cli-batch.tmp"
_NON_TEXT_SUFFIXES = {".pdf", ".docx", ".epub", ".odt", ".rtf", ".pptx", ".html", ".htm"}


def ledger_of(folder: Path) -> Path:
    """Return the ledger of a folder of results."""
    return folder / _LEDGER


class FolderSink(FileSink):
    """A folder with one file for each input file, and a ledger with their records as lines."""

    def __init__(
        self,
        folder: Path,
        first: Sequence[Row],
        reporter: Reporter,
        *,
        structured: bool,
        rewrites: bool,
        dry_run: bool,
    ) -> None:
        """Open the ledger as FileSink does, if the `first` rows can be written.

        `structured` results are JSON. With `rewrites` a result takes the place of its text: its
        file begins and ends as that.
        """
        self._folder, self._structured, self._rewrites = folder, structured, rewrites
        self._ends: dict[str, tuple[str, str]] = {}
        self._targets: dict[str, Path] = {}
        self._source_of: dict[Path, str] = {}
        self._inputs = set[str]()
        self._unknown = 0
        self._add_targets(first)
        super().__init__(
            ledger_of(folder), NativeFormat(), reporter, dry_run=dry_run, ids_are_fixed=True
        )
        self.name, self._new_file = str(folder), folder / _TEMPORARY
        self._must_recover = self._new_file.exists() and not dry_run

    def claim(self, items: Sequence[WorkItem], options: BatchOptions) -> list[RowStatus]:
        """Divide the items by the lines in the ledger; a row whose file is missing is left to do.

        Raises UsageError for a file that a batch has not written, and if two rows would share one.
        """
        rows = [item.row for item in items]
        self._add_targets([row for row in rows if row.id not in self._targets])
        if self._rewrites:
            self._ends |= {item.row.id: _ends(item.row) for item in items}
        if self._must_recover:
            self._recover()
        lines = [-1] * len(items)
        if self._columns:
            lines = self._index.newest_of_ids([item.row.id for item in items])
        for item, line in zip(items, lines, strict=True):
            target = self._targets[item.row.id]
            self._unknown += line < 0 and target.exists() and not options.force
            if self._unknown > self.damaged_results:  # else they are the results of damaged lines
                raise UsageError(
                    f"{target} exists and is not a result of this batch",
                    hint="Choose another --output-dir, or overwrite the file with --force.",
                )
        return super().claim(items, options)

    def _misplaced(self, items: Sequence[WorkItem], found: Sequence[RowStatus]) -> Sequence[int]:
        return [
            place
            for place, (item, status) in enumerate(zip(items, found, strict=True))
            if status is RowStatus.DONE and not self._targets[item.row.id].exists()
        ]

    def add(self, record: Record) -> None:
        """Add the line to the ledger, then put the file in place.

        In this order, because a file that is not in the ledger counts as someone else's.
        """
        if record["error"]:
            super().add(record)
            self.flush()
            return
        target = self._targets[record["id"]]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._new_file.unlink(missing_ok=True)
            with atomic_writer(target, self._new_file) as file:
                file.write(self._content(record))
                file.flush()  # a full disk must fail here, before anything else changes
                if target.exists():  # the old file must not pass for the new line's result
                    target.unlink()
                    sync_folder(target.parent)
                super().add(record)
                self.flush()
        except OSError as error:
            raise write_error(target, error) from error

    @property
    def is_flush_due(self) -> bool:
        """True: `add` writes each result."""
        return True

    def finish(
        self,
        *,
        ordered: bool,
        present: DigestSet | None,
        prune: bool = False,
        hurried: bool = False,
    ) -> None:
        """Also remove the files of pruned results, unless they have been changed."""
        if prune and present:
            # A failed row has no file.
            lines = self._index.orphaned_answers(present) if self._columns else ()
            for record in self._records(lines):
                self._remove_file(record)
        super().finish(ordered=ordered, present=present, prune=prune, hurried=hurried)

    def _remove_file(self, record: Record) -> None:
        present = set(self._targets.values())
        parts = [part for part in Path(str(record["id"])).parts if part not in ("/", "..")]
        content = self._content(record)
        # The id is the path as it was named; the file has the part of it below some folder.
        for start in range(len(parts)):
            target = self._folder / _name(Path(*parts[start:]), structured="data" in record)
            with contextlib.suppress(OSError):
                if target not in present and _core(target.read_bytes()) == _core(content):
                    target.unlink()
                    return

    def _recover(self) -> None:
        """Move a file into place if a crash prevented that after its line was written."""
        self._must_recover = False
        with contextlib.suppress(OSError):
            for last in self._records([len(self._columns) - 1] if self._columns else ()):
                target = self._targets.get(last["id"])
                content = self._content(last)
                if target and not target.exists() and content == self._new_file.read_bytes():
                    self._new_file.replace(target)
            self._new_file.unlink(missing_ok=True)

    def _add_targets(self, rows: Sequence[Row]) -> None:
        """Note the file for each row. Raises UsageError if two rows would share a file."""
        self._inputs |= {os.path.realpath(row.path) for row in rows if row.path}
        for row in rows:
            if row.relative is None:
                raise UsageError(
                    f"--output-dir needs whole files as inputs, and {row.source} is not a file",
                    hint="Use -o FILE for tables and lines.",
                )
            target = self._folder / _name(row.relative, structured=self._structured)
            if target in self._source_of:
                raise UsageError(
                    f"{row.source} and {self._source_of[target]} would both be written to {target}",
                    hint="Name a folder or a glob above both, so that their paths differ.",
                )
            if os.path.realpath(target) in self._inputs:
                raise UsageError(
                    f"{target} would overwrite an input", hint="Choose another --output-dir."
                )
            self._source_of[target] = row.source
            self._targets[row.id] = target

    def _content(self, record: Record) -> bytes:
        text = cited_text(record)
        if "data" in record:
            text = json.dumps(record["data"], ensure_ascii=False, indent=2)
        start, end = self._ends.get(record["id"], ("", "\n"))
        return f"{start}{text}{end}".encode("utf-8", "replace")


def _core(content: bytes) -> bytes:
    """Return the content without what a file may begin and end with as its text does."""
    return content.removeprefix(codecs.BOM_UTF8).strip()


def _ends(row: Row) -> tuple[str, str]:
    return Text(row.text, row.source, row.original).ends


def _name(relative: Path, *, structured: bool) -> Path:
    if structured:
        return relative.with_suffix(".json")
    if relative.suffix.lower() in _NON_TEXT_SUFFIXES:
        return relative.with_suffix(".txt")
    return relative
