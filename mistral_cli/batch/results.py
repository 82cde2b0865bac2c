"""Results files to look at: their lines, and what the run that writes each reports of itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mistral_cli.batch.digests import FAILED, LineColumns
from mistral_cli.batch.formats import format_of
from mistral_cli.batch.resume import read_result_lines
from mistral_cli.batch.run_report import RunReport
from mistral_cli.batch.sinks.open import lines_file
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mistral_cli.batch.formats import LineFormat, Record

_HINT = "Name results of a batch."


@dataclass(frozen=True)
class ResultsFile:
    """An open file of results; `run` is the report of the run that wrote it."""

    name: str
    stream: IO[bytes]
    format: LineFormat
    columns: LineColumns
    run: RunReport | None

    @cached_property
    def newest(self) -> NDArray[Any]:
        """The newest line of each row, in the order of the file."""
        import numpy as np

        ids = np.array(self.columns.ids, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        is_last = np.ones(len(ids), dtype=bool)
        is_last[:-1] = ids[order[:-1]] != ids[order[1:]]
        return np.sort(order[is_last])

    @cached_property
    def failed(self) -> int:
        """The number of rows that failed."""
        return sum(self.columns.flags[line] & FAILED > 0 for line in self.newest.tolist())

    def raw(self, line: int) -> bytes:
        """Return the bytes of a line, with its end."""
        start, size = self.columns.starts[line], self.columns.sizes[line]
        return os.pread(self.stream.fileno(), size, start).rstrip(b"\n") + b"\n"

    def record(self, line: int) -> Record:
        """Return the record of a line."""
        record = self.format.decode(json.loads(self.raw(line)))
        assert record is not None  # it was one when the file was opened
        return record


@contextmanager
def open_results(name: str) -> Iterator[ResultsFile]:
    """Open the results that a batch wrote to `name`: a file, a table or a folder.

    Raises UsageError.
    """
    path = lines_file(Path(name))
    run = RunReport.read(path)
    try:
        stream = path.open("rb")
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        if path != Path(name) and Path(name).exists():  # a folder or table with other contents
            problem = "has no results of a batch"
        raise UsageError(f"{name} {problem}", hint=_HINT) from error
    with stream:
        line_format, columns = format_of(stream), LineColumns()
        try:
            read_result_lines(stream, line_format, name, columns.add)
        except UsageError as error:
            raise UsageError(error.message, hint=_HINT) from error
        yield ResultsFile(name, stream, line_format, columns, run)
