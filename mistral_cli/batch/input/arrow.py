"""The rows of Parquet and Arrow files, read a part of a row group or a record batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mistral_cli.batch.input.columns import TypedTable, as_cell, check_names
from mistral_cli.errors import UsageError
from mistral_cli.texts.inputs import STDIN, display_name
from mistral_cli.texts.tabular import ParsedRow

_INSTALL = "pip install 'mistral-cli[parquet]'"
_ROWS = 1000  # of a row group, which may have a million
_BUFFER = 1 << 16  # bytes of a column that are read at once


def check_readable(path: Path) -> None:
    """Raise UsageError for stdin, and with the install command if pyarrow is missing."""
    if path == STDIN:
        raise UsageError(
            "stdin cannot be Parquet or Arrow, whose directory is at the end", hint="Name the file."
        )
    check_installed(path)


def check_installed(path: Path) -> None:
    """Raise UsageError with the install command if pyarrow, which the file needs, is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(
            f"{display_name(path)} needs the package pyarrow", hint=f"Install: {_INSTALL}"
        ) from None


def open_columns(path: Path, *, is_parquet: bool) -> TypedTable:
    """Open a file; return its columns and rows. Raises UsageError."""
    name = display_name(path)
    with _errors(name), ExitStack() as resources:
        batches, header, count = (
            _parquet(path, resources) if is_parquet else _arrow(path, resources)
        )
        check_names(header, name, "Give every column its own name.")
        place = [0]
        rows = _rows(batches, header, name, place, resources.pop_all())
    return TypedTable(header, rows, lambda: place[0] / count if count else None)


def _parquet(path: Path, resources: ExitStack) -> tuple[Iterator[Any], Sequence[str], int]:
    from pyarrow.parquet import ParquetFile

    # By default the whole row group is read before its first row.
    file = resources.enter_context(ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False))
    batches = file.iter_batches(batch_size=_ROWS, use_threads=False)
    return batches, file.schema_arrow.names, file.metadata.num_rows


def _arrow(path: Path, resources: ExitStack) -> tuple[Iterator[Any], Sequence[str], int]:
    """Open the file or the stream format: which of them it is, its name does not tell."""
    import pyarrow

    source = resources.enter_context(pyarrow.memory_map(str(path)))
    if path.open("rb").read(6) == b"ARROW1":
        file = resources.enter_context(pyarrow.ipc.open_file(source))
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
        return batches, file.schema.names, 0
    stream = resources.enter_context(pyarrow.ipc.open_stream(source))
    return iter(stream), stream.schema.names, 0


def _rows(
    batches: Iterator[Any], header: Sequence[str], name: str, place: list[int], resources: ExitStack
) -> Iterator[ParsedRow]:
    with _errors(name), resources:
        for whole in batches:
            for start in range(0, whole.num_rows, _ROWS):
                columns = [_cells(column) for column in whole.slice(start, _ROWS).columns]
                for cells in zip(*columns, strict=True):
                    place[0] += 1
                    yield ParsedRow(place[0], dict(zip(header, cells, strict=True)))


def _cells(column: Any) -> list[Any]:
    """Return the values of a column as a table of text would have them."""
    from pyarrow import types

    values: list[Any] = column.to_pylist()
    if types.is_string(column.type) or types.is_large_string(column.type):
        return values if not column.null_count else [value or "" for value in values]
    return [as_cell(value) for value in values]


@contextmanager
def _errors(name: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it is damaged"
        raise UsageError(
            f"{name} cannot be read: {reason}", hint="Write the file again, or save it as CSV."
        ) from error
