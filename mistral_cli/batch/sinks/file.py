"""Results as lines in one file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mistral_cli.batch.results_file import Results

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Lines
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import Item
    from mistral_cli.batch.resume import Matched
    from mistral_cli.system.reporter import Reporter


class FileSink:
    """Lines in one file."""

    def __init__(
        self,
        path: Path,
        lines: Lines,
        reporter: Reporter,
        *,
        dry_run: bool,
        ids_are_kept: bool = False,
    ) -> None:
        self.name = str(path)
        self._results = Results(path, lines, reporter, dry_run=dry_run, ids_are_kept=ids_are_kept)

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
