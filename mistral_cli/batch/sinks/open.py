"""Opens the sink that the options name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.batch.formats import NativeFormat, OpenAIFormat
from mistral_cli.batch.options import BatchOptions, ResultFormat
from mistral_cli.batch.sinks.file import FileSink
from mistral_cli.batch.sinks.folder import FolderSink, ledger_of
from mistral_cli.batch.sinks.stdout import StdoutSink
from mistral_cli.batch.sinks.table import TableSink, is_table, lines_beside
from mistral_cli.errors import UsageError
from mistral_cli.texts.compressed import SUFFIXES as COMPRESSED
from mistral_cli.texts.compressed import without_suffix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_cli.batch.input.rows import Row
    from mistral_cli.system.terminal import Terminal

Sink = FileSink | StdoutSink
"""Takes the records of a batch, and may hold those of earlier runs. A FolderSink is a FileSink."""


def open_sink(
    options: BatchOptions,
    first: Sequence[Row],
    *,
    structured: bool,
    rewrites: bool,
    terminal: Terminal,
) -> Sink:
    """Open the sink that the options name, for the `first` rows and others.

    `structured` and `rewrites` as in FolderSink. Raises UsageError.
    """
    is_openai = options.format is ResultFormat.OPENAI
    if options.output and options.output_dir:
        raise UsageError("-o and --output-dir exclude each other", hint="Give only one of them.")
    if options.output_dir:
        if is_openai:
            raise UsageError(
                "--format openai does not apply to --output-dir", hint="Use it with -o FILE."
            )
        return FolderSink(
            options.output_dir,
            first,
            terminal,
            structured=structured,
            rewrites=rewrites,
            dry_run=options.dry_run,
        )
    if options.output and options.output.suffix.lower() in COMPRESSED:
        raise UsageError(
            f"{options.output} cannot be written compressed: a later run looks up results at their "
            "places in the file, and continues at its end",
            hint=f"Write {without_suffix(options.output)}, and compress it when the batch is done.",
        )
    if is_table(options.output):
        if is_openai:
            raise UsageError(
                "--format openai does not apply to a table", hint="Name a .jsonl file with -o."
            )
        assert options.output
        return TableSink(options.output, terminal, dry_run=options.dry_run, force=options.force)
    line_format = OpenAIFormat() if is_openai else NativeFormat()
    if options.output and str(options.output) != "-":
        return FileSink(options.output, line_format, terminal, dry_run=options.dry_run)
    return StdoutSink(line_format, terminal, ordered=options.ordered)


def lines_file(results: Path) -> Path:
    """Return the file with the lines of results: that of a folder or a table is hidden."""
    if results.is_dir():
        return ledger_of(results)
    return lines_beside(results) if is_table(results) else results
