"""Where results go: a file, a folder with a file for each input, or stdout."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from mistral_cli.batch.formats import Lines, OpenAILines, OwnLines
from mistral_cli.batch.options import BatchOptions, ResultFormat
from mistral_cli.batch.resume import Matched
from mistral_cli.batch.sinks.file import FileSink
from mistral_cli.batch.sinks.folder import FolderSink
from mistral_cli.errors import UsageError
from mistral_cli.system.stdout import write_json

if TYPE_CHECKING:
    from mistral_cli.batch.prompts import Item
    from mistral_cli.system.terminal import Terminal


class Sink(Protocol):
    """Takes the records of a batch, and knows which it had before."""

    name: str

    def match(self, items: Sequence[Item], options: BatchOptions) -> Matched:
        """What is to be done, and what is done."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record for good. Raises MistralCliError."""

    def finish(self, items: Sequence[Item], *, ordered: bool) -> None:
        """The run is over. Raises MistralCliError."""

    def earlier(self) -> Iterable[dict[str, Any]]:
        """The records that are there."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_destination(
    options: BatchOptions, items: Sequence[Item], *, structured: bool, terminal: Terminal
) -> Sink:
    """The one that the user named. Raises UsageError."""
    lines = OpenAILines() if options.format is ResultFormat.OPENAI else OwnLines()
    if options.output and options.output_dir:
        raise UsageError("-o and --output-dir are both given", hint="Give one of them.")
    if options.output_dir:
        if options.format is ResultFormat.OPENAI:
            raise UsageError("--format is for lines", hint="Use it with -o FILE.")
        return FolderSink(
            options.output_dir, items, terminal, structured=structured, dry_run=options.dry_run
        )
    if options.output and str(options.output) != "-":
        return FileSink(options.output, lines, terminal, dry_run=options.dry_run)
    return ToStdout(lines, terminal)


class ToStdout:
    """Lines on stdout, which no later run can see."""

    name = "stdout"

    def __init__(self, lines: Lines, terminal: Terminal) -> None:
        self._lines, self._terminal = lines, terminal
        self._awaited = deque[str]()
        self._held: dict[str, Mapping[str, Any]] = {}

    def match(self, items: Sequence[Item], options: BatchOptions) -> Matched:
        """See Destination."""
        if options.ordered:
            self._awaited.extend(item.row.id for item in items[: options.limit])
        return Matched(list(items), [], [])

    def add(self, record: Mapping[str, Any]) -> None:
        """See Destination: with an order, what comes early waits for its turn."""
        if not self._awaited:
            self._write(record)
            return
        self._held[record["id"]] = record
        while self._awaited and self._awaited[0] in self._held:
            self._write(self._held.pop(self._awaited.popleft()))

    def finish(self, items: Sequence[Item], *, ordered: bool) -> None:  # noqa: ARG002
        """See Destination: what waits for a row that will not come any more is written."""
        for name in self._awaited:
            if name in self._held:
                self._write(self._held.pop(name))

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
