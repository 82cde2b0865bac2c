"""Results as a folder with one file for each input file."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.batch.formats import NativeFormat
from mistral_cli.batch.resume import ResumePlan
from mistral_cli.batch.sinks.file import FileSink, write_error
from mistral_cli.errors import UsageError
from mistral_cli.generation.summaries.cited import cited_text
from mistral_cli.system.files import atomic_writer, sync_folder
from mistral_cli.texts.inputs import Text

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.batch.resume import ResultLine
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
        items: Sequence[WorkItem],
        reporter: Reporter,
        *,
        structured: bool,
        rewrites: bool,
        dry_run: bool,
    ) -> None:
        """Open the ledger as FileSink does; `structured` results are JSON.

        With `rewrites` a result takes the place of its text: its file begins and ends as that.
        """
        self._ends = {item.row.id: _ends(item.row) for item in items if rewrites}
        self._folder = folder
        self._targets = _targets(folder, [item.row for item in items], structured=structured)
        super().__init__(
            ledger_of(folder), NativeFormat(), reporter, dry_run=dry_run, ids_are_fixed=True
        )
        self.name, self._new_file = str(folder), folder / _TEMPORARY
        if self._new_file.exists() and not dry_run:
            self._recover()

    def resume_plan(self, items: Sequence[WorkItem], options: BatchOptions) -> ResumePlan:
        """Divide the items by the lines in the ledger; a row whose file is missing is left to do.

        Raises UsageError for a file that a batch has not written.
        """
        plan, known = super().resume_plan(items, options), self.existing_ids
        unknown = [
            target
            for row_id, target in self._targets.items()
            if row_id not in known and target.exists() and not options.force
        ]
        if len(unknown) > self.damaged_results:  # else they are the results of damaged lines
            target = unknown[0]
            raise UsageError(
                f"{target} exists and is not a result of this batch",
                hint="Choose another --output-dir, or overwrite the file with --force.",
            )
        if options.only_failed_checks:
            return plan
        done = [item for item in plan.done if self._targets[item.row.id].exists()]
        settled = {item.row.id for item in (*done, *plan.failed)}
        todo = [item for item in items if item.row.id not in settled]
        return ResumePlan(todo, done, plan.failed)

    def add(self, record: Record) -> None:
        """Add the line to the ledger, then put the file in place.

        In this order, because a file that is not in the ledger counts as someone else's.
        """
        if record["error"]:
            super().add(record)
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
        except OSError as error:
            raise write_error(target, error) from error

    def finish(self, items: Sequence[WorkItem], *, ordered: bool, prune: bool = False) -> None:
        """Also remove the files of pruned results, unless they have been changed."""
        if prune:
            for line in self.orphans(items):
                if not line.failed:  # a failed row has no file
                    self._remove_file(line)
        super().finish(items, ordered=ordered, prune=prune)

    def _remove_file(self, line: ResultLine) -> None:
        record, present = json.loads(self._raw(line, None)), set(self._targets.values())
        parts = [part for part in Path(line.id).parts if part not in ("/", "..")]
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
        with contextlib.suppress(OSError):
            for last in deque(self.existing_records(), maxlen=1):
                target = self._targets.get(last["id"])
                content = self._content(last)
                if target and not target.exists() and content == self._new_file.read_bytes():
                    self._new_file.replace(target)
            self._new_file.unlink(missing_ok=True)

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


def _targets(folder: Path, rows: Sequence[Row], *, structured: bool) -> dict[str, Path]:
    """Return the file for each row id. Raises UsageError if two rows would share a file."""
    targets, source_of = dict[str, Path](), dict[Path, str]()
    inputs = {os.path.realpath(row.path) for row in rows if row.path}
    for row in rows:
        if row.relative is None:
            raise UsageError(
                f"--output-dir needs whole files as inputs, and {row.source} is not a file",
                hint="Use -o FILE for tables and lines.",
            )
        target = folder / _name(row.relative, structured=structured)
        if target in source_of:
            raise UsageError(
                f"{row.source} and {source_of[target]} would both be written to {target}",
                hint="Name a folder or a glob above both, so that their paths differ.",
            )
        if os.path.realpath(target) in inputs:
            raise UsageError(
                f"{target} would overwrite an input", hint="Choose another --output-dir."
            )
        source_of[target] = row.source
        targets[row.id] = target
    return targets


def _name(relative: Path, *, structured: bool) -> Path:
    if structured:
        return relative.with_suffix(".json")
    if relative.suffix.lower() in _NON_TEXT_SUFFIXES:
        return relative.with_suffix(".txt")
    return relative
