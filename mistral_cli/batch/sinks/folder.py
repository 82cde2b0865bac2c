"""Results as a file for each input, in a folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.formats import OwnLines
from mistral_cli.batch.results_file import failed_to_write
from mistral_cli.batch.resume import Matched
from mistral_cli.batch.sinks.file import FileSink
from mistral_cli.errors import UsageError
from mistral_cli.system.files import replacing, sync_folder

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import Item
    from mistral_cli.system.reporter import Reporter

_LEDGER, _TEMPORARY = ".mistral-cli-batch.jsonl", ".mistral-cli-batch.tmp"
_NO_TEXTS = {".pdf", ".docx", ".epub", ".odt", ".rtf", ".pptx", ".html", ".htm"}


class FolderSink(FileSink):
    """A file for each input, and beside them the lines that tell how each came about."""

    def __init__(
        self,
        folder: Path,
        items: Sequence[Item],
        reporter: Reporter,
        *,
        structured: bool,
        dry_run: bool,
    ) -> None:
        self._targets = _targets(folder, [item.row for item in items], structured=structured)
        super().__init__(folder / _LEDGER, OwnLines(), reporter, dry_run=dry_run, ids_are_kept=True)
        self.name, self._temporary = str(folder), folder / _TEMPORARY
        if self._temporary.exists() and not dry_run:
            self._recover()

    def match(self, items: Sequence[Item], options: BatchOptions) -> Matched:
        """See Destination: what somebody deleted or renamed is to be done again."""
        matched, known = super().match(items, options), self._results.ids
        strangers = (
            target
            for name, target in self._targets.items()
            if name not in known and target.exists() and not options.force
        )
        if stranger := next(strangers, None):
            raise UsageError(
                f"{stranger} is there and is no result of this batch",
                hint="Name another --output-dir, or overwrite with --force.",
            )
        there = {item.row.id for item in matched.done if self._targets[item.row.id].exists()}
        settled = there | {item.row.id for item in matched.failed}
        todo = [item for item in items if item.row.id not in settled]
        return Matched(todo, [item for item in items if item.row.id in there], matched.failed)

    def add(self, record: Mapping[str, Any]) -> None:
        """See Destination: the line before the file, which without it would be a stranger's."""
        if record["error"]:
            super().add(record)
            return
        target = self._targets[record["id"]]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.unlink(missing_ok=True)
            with replacing(target, self._temporary) as file:
                file.write(_content(record))
                file.flush()  # a full disk is to show before anything else is changed
                if target.exists():  # nor must the old file pass for what the line tells of
                    target.unlink()
                    sync_folder(target.parent)
                super().add(record)
        except OSError as error:
            raise failed_to_write(target, error) from error

    def _recover(self) -> None:
        """Put the file into its place that a crash kept from there, after its line was written."""
        with contextlib.suppress(OSError):
            for last in deque(self._results.records(), maxlen=1):
                target = self._targets.get(last["id"])
                if (
                    target
                    and not target.exists()
                    and _content(last) == self._temporary.read_bytes()
                ):
                    self._temporary.replace(target)
            self._temporary.unlink(missing_ok=True)


def _content(record: Mapping[str, Any]) -> bytes:
    text = record.get("text")
    if "data" in record:
        text = json.dumps(record["data"], ensure_ascii=False, indent=2)
    return f"{text}\n".encode("utf-8", "replace")


def _targets(folder: Path, rows: Sequence[Row], *, structured: bool) -> dict[str, Path]:
    """Row id → the file for its result. Raises UsageError where two would be one."""
    targets, taken = dict[str, Path](), dict[Path, str]()
    inputs = {os.path.realpath(row.path) for row in rows if row.path}
    for row in rows:
        if row.relative is None:
            raise UsageError(
                f"--output-dir wants whole files, and {row.source} is none",
                hint="Use -o FILE for tables and lines.",
            )
        target = folder / _name(row.relative, structured=structured)
        if target in taken:
            raise UsageError(
                f"{row.source} and {taken[target]} would both become {target}",
                hint="Name a folder or a glob that tells them apart.",
            )
        if os.path.realpath(target) in inputs:
            raise UsageError(f"{target} would overwrite an input", hint="Name another folder.")
        taken[target] = row.source
        targets[row.id] = target
    return targets


def _name(relative: Path, *, structured: bool) -> Path:
    if structured:
        return relative.with_suffix(".json")
    return relative.with_suffix(".txt") if relative.suffix.lower() in _NO_TEXTS else relative
