"""Where results go: a file, a folder with a file for each input, or stdout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from mistral_cli.atomic import write_atomically
from mistral_cli.batch.asks import Item
from mistral_cli.batch.lines import Lines, OpenAILines, OwnLines
from mistral_cli.batch.options import BatchOptions, ResultFormat
from mistral_cli.batch.results import Matched, Results, ResultsFailed
from mistral_cli.errors import UsageError
from mistral_cli.output.stdout import write_json
from mistral_cli.terminal import Terminal

_LEDGER = ".mistral-cli-batch.jsonl"


class Destination(Protocol):
    """Takes the records of a batch, and knows which it had before."""

    name: str

    def match(self, items: Sequence[Item], options: BatchOptions) -> Matched:
        """What is to be done, and what is done."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record for good. Raises MistralCliError."""

    def finish(self, items: Sequence[Item], *, ordered: bool) -> None:
        """The run is over."""

    def earlier(self) -> Iterable[dict[str, Any]]:
        """The records that are there."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_destination(
    options: BatchOptions, items: Sequence[Item], *, structured: bool, terminal: Terminal
) -> Destination:
    """The one that the user named. Raises UsageError."""
    lines = OpenAILines() if options.format is ResultFormat.OPENAI else OwnLines()
    if options.output and options.output_dir:
        raise UsageError("-o and --output-dir are both given", hint="Give one of them.")
    if options.output_dir:
        if options.format is ResultFormat.OPENAI:
            raise UsageError("--format is for lines", hint="Use it with -o FILE.")
        return IntoFolder(options.output_dir, items, structured=structured, terminal=terminal)
    if options.output and str(options.output) != "-":
        return IntoFile(options.output, lines, terminal)
    return ToStdout(lines, items, terminal, ordered=options.ordered)


class IntoFile:
    """Lines in one file."""

    def __init__(self, path: Path, lines: Lines, terminal: Terminal) -> None:
        self.name = str(path)
        self._results = Results(path, lines, terminal)

    def match(self, items: Sequence[Item], options: BatchOptions) -> Matched:
        """See Destination."""
        return self._results.match(items, retry_failed=options.retry_failed, force=options.force)

    def add(self, record: Mapping[str, Any]) -> None:
        """See Destination."""
        self._results.add(record)

    def finish(self, items: Sequence[Item], *, ordered: bool) -> None:
        """See Destination."""
        self._results.finish(items, ordered=ordered)

    def earlier(self) -> Iterable[dict[str, Any]]:
        """See Destination."""
        return self._results.records()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._results.close()


class IntoFolder(IntoFile):
    """A file for each input, and beside them the lines that tell how each came about."""

    def __init__(
        self, folder: Path, items: Sequence[Item], *, structured: bool, terminal: Terminal
    ) -> None:
        self._targets = _targets(folder, items, structured=structured)
        super().__init__(folder / _LEDGER, OwnLines(), terminal)
        self.name = str(folder)

    def match(self, items: Sequence[Item], options: BatchOptions) -> Matched:
        """See Destination: what somebody deleted is to be done again."""
        matched = super().match(items, options)
        gone = [item for item in matched.done if not self._targets[item.row.id].exists()]
        known = {record["id"] for record in self.earlier()}
        foreign = [
            target
            for name, target in self._targets.items()
            if name not in known and target.exists() and not options.force
        ]
        if foreign:
            raise UsageError(
                f"{foreign[0]} is there and is no result of this batch",
                hint="Name another --output-dir, or overwrite with --force.",
            )
        done = [item for item in matched.done if item not in gone]
        return Matched([*matched.todo, *gone], done, matched.failed)

    def add(self, record: Mapping[str, Any]) -> None:
        """See Destination: the line first, for a file without its line would be a stranger's."""
        super().add(record)
        if record["error"]:
            return
        target, data = self._targets[record["id"]], record.get("data")
        text = (
            record.get("text") if data is None else json.dumps(data, ensure_ascii=False, indent=2)
        )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, f"{text}\n".encode("utf-8", "replace"))
        except OSError as error:
            raise ResultsFailed(
                f"cannot write {target}: {error.strerror or error}",
                hint="Free the disk or mend its permissions; the same command goes on from there.",
            ) from error


class ToStdout:
    """Lines on stdout, which no later run can see."""

    name = "stdout"

    def __init__(
        self, lines: Lines, items: Sequence[Item], terminal: Terminal, *, ordered: bool
    ) -> None:
        self._lines, self._terminal = lines, terminal
        self._order = [item.row.id for item in items] if ordered else []
        self._held: dict[str, Mapping[str, Any]] = {}

    def match(self, items: Sequence[Item], options: BatchOptions) -> Matched:
        """See Destination."""
        self._order = self._order[: options.limit]
        return Matched(list(items), [], [])

    def add(self, record: Mapping[str, Any]) -> None:
        """See Destination: with an order, what comes early waits for its turn."""
        if not self._order:
            self._write(record)
            return
        self._held[record["id"]] = record
        while self._order and self._order[0] in self._held:
            self._write(self._held.pop(self._order.pop(0)))

    def finish(self, items: Sequence[Item], *, ordered: bool) -> None:  # noqa: ARG002
        """See Destination."""
        for record in self._held.values():
            self._write(record)
        self._held.clear()

    def earlier(self) -> Iterable[dict[str, Any]]:
        """See Destination."""
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _write(self, record: Mapping[str, Any]) -> None:
        self._terminal.clear_status()
        write_json(self._terminal, self._lines.line(record), on_one_line=True)


def _targets(folder: Path, items: Sequence[Item], *, structured: bool) -> dict[str, Path]:
    """Row id → the file for its result. Raises UsageError where two would be one."""
    targets, taken = dict[str, Path](), dict[Path, str]()
    for row in (item.row for item in items):
        if row.relative is None or row.path is None:
            raise UsageError(
                f"--output-dir wants whole files, and {row.source} is a line of one",
                hint="Use -o FILE for tables and lines.",
            )
        name = row.relative.with_suffix(".json") if structured else row.relative
        if not structured and name.suffix.lower() in _BINARY:
            name = name.with_suffix(".txt")
        target = folder / name
        if target in taken:
            raise UsageError(
                f"{row.source} and {taken[target]} would both become {target}",
                hint="Name a folder or a glob that tells them apart.",
            )
        if target.exists() and target.samefile(row.path):
            raise UsageError(f"{target} would overwrite its input", hint="Name another folder.")
        taken[target] = row.source
        targets[row.id] = target
    return targets


_BINARY = {".pdf", ".docx", ".epub", ".odt", ".rtf", ".pptx", ".html", ".htm"}
