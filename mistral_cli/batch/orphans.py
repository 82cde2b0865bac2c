"""Orphaned results, whose rows are no longer among the inputs: they are counted, or pruned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mistral_cli.batch.input.rows import format_of
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.options import BatchOptions


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


class UnreadInputs:
    """Finds inputs that could not be read, whose results must not be pruned."""

    def __init__(self, options: BatchOptions) -> None:
        self._options = options
        self._have_ids = False
        self._first_row: str | None = None  # whose id is missing if the others have one
        self._first_table: str | None = None

    def see(self, rows: Iterable[Row]) -> None:
        """Look for rows that stand for what could not be read."""
        if not self._options.prune:
            return
        for row in rows:
            self._have_ids = self._have_ids or row.id != row.source
            # A row that cannot be read has its place as its id.
            if row.error and row.id == row.source:
                self._first_row = self._first_row or row.error.message
                if _is_table(row, self._options):
                    self._first_table = self._first_table or row.error.message

    def check(self, unread: Sequence[str]) -> None:
        """Raise UsageError if `--prune` might remove results of rows that only could not be read.

        `unread` are the folders that could not be read.
        """
        first = next(iter(unread), self._first_table or (self._have_ids and self._first_row))
        if self._options.prune and first:
            raise UsageError(
                f"--prune needs all inputs, and one cannot be read: {first}",
                hint="Fix that input, or drop --prune.",
            )


def _is_table(row: Row, options: BatchOptions) -> bool:
    """Return whether the row stands for a whole file of rows, which cannot be read."""
    if row.path is None:
        return False
    if options.from_sql is not None:
        return True
    if options.input_format is None:
        return format_of(row.path) is not None
    return options.input_format is not InputFormat.TEXT


def orphans_note(count: int, *, pruned: bool) -> str:
    """Return what to tell the user about `count` orphaned results."""
    results = f"{count:,} result{'s' if count > 1 else ''}"
    if pruned:
        return f"{results} of rows that are no longer among the inputs removed"
    verb = "are" if count > 1 else "is"
    return f"{results} {verb} of rows that are no longer among the inputs; --prune removes them"
