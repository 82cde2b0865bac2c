"""Orphaned results, whose rows are no longer among the inputs: they are counted, or pruned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mistral_cli.batch.input.rows import FORMAT_OF_SUFFIX
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.batch.resume import ResultLine


def reads_stdin(names: Sequence[str]) -> bool:
    """Return whether rows come from stdin, which may have others each time."""
    return not names or "-" in names


def check_prune(names: Sequence[str], options: BatchOptions) -> None:
    """Raise UsageError if `--prune` does not apply to this call."""
    if not options.prune:
        return
    if not options.can_resume:
        raise UsageError(
            "--prune needs results of an earlier run", hint="Use -o FILE or --output-dir DIR."
        )
    if options.shard:
        raise UsageError(
            "--prune and --shard exclude each other: the rows of other shards would count as gone",
            hint="Drop one of them.",
        )
    if reads_stdin(names):
        raise UsageError(
            "--prune does not apply to rows from stdin",
            hint="Name the inputs as files, or drop --prune.",
        )


def check_inputs_are_complete(
    rows: Sequence[Row], unread: Sequence[str], options: BatchOptions
) -> None:
    """Raise UsageError if `--prune` might remove results of rows that only could not be read.

    `unread` are the folders that cannot be read.
    """
    unread = list(unread)
    have_ids = any(row.id != row.source for row in rows)
    for row in rows:
        # A row that cannot be read has its place as its id.
        if row.error and row.id == row.source and (have_ids or _is_table(row, options)):
            unread.append(row.error.message)
    if options.prune and unread:
        raise UsageError(
            f"--prune needs all inputs, and one cannot be read: {unread[0]}",
            hint="Fix that input, or drop --prune.",
        )


def _is_table(row: Row, options: BatchOptions) -> bool:
    """Return whether the row stands for a whole file of rows, which cannot be read."""
    if row.path is None:
        return False
    if options.input_format is None:
        return row.path.suffix.lower() in FORMAT_OF_SUFFIX
    return options.input_format is not InputFormat.TEXT


def orphaned(
    lines: Sequence[ResultLine],
    items: Sequence[WorkItem],
    assigned: Sequence[ResultLine | None],
) -> list[ResultLine]:
    """Return the lines of no present row: not its result, and not what it had before a change."""
    ids, used = {item.row.id for item in items}, set(assigned)
    return [line for line in lines if line not in used and line.id not in ids]


def orphans_note(count: int, *, pruned: bool) -> str:
    """Return what to tell the user about `count` orphaned results."""
    results = f"{count:,} result{'s' if count > 1 else ''}"
    if pruned:
        return f"{results} of rows that are no longer among the inputs removed"
    verb = "are" if count > 1 else "is"
    return f"{results} {verb} of rows that are no longer among the inputs; --prune removes them"
