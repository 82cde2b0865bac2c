"""Writes a table of results as Parquet or Arrow, a row group after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

SUFFIXES = (".parquet", ".arrow", ".feather")

# A row group is in memory as a whole, here and in what reads it.
_GROUP_ROWS = 50_000
_GROUP_CHARACTERS = 32 * 2**20

Cells = Sequence[str | float | None]


def write_columns(
    file: BinaryIO, suffix: str, names: Sequence[str], numbers: Iterable[str], rows: Iterable[Cells]
) -> None:
    """Write rows of texts; those of the columns in `numbers` are numbers. None is null.

    The format is that of the suffix. Raises OSError.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    numbers = set(numbers)
    schema = pyarrow.schema(
        (name, pyarrow.float64() if name in numbers else pyarrow.string()) for name in names
    )
    is_parquet = suffix == ".parquet"
    new = ParquetWriter if is_parquet else pyarrow.ipc.new_file
    with new(file, schema) as writer:
        group, characters = list[Cells](), 0
        for cells in rows:
            group.append(cells)
            characters += sum(len(cell) for cell in cells if isinstance(cell, str))
            if len(group) >= _GROUP_ROWS or characters >= _GROUP_CHARACTERS:
                writer.write_table(_table(group, schema))
                group, characters = [], 0
        if group:
            writer.write_table(_table(group, schema))


def _table(group: Sequence[Cells], schema: Any) -> Any:
    import pyarrow

    columns = map(_column, zip(*group, strict=True), schema.types)
    return pyarrow.table([*columns], schema=schema)


def _column(cells: Cells, kind: Any) -> Any:
    import pyarrow

    try:
        return pyarrow.array(cells, kind)
    except UnicodeEncodeError:  # half of a surrogate pair
        return pyarrow.array(map(_encodable, cells), kind)


def _encodable(cell: str | float | None) -> str | float | None:
    if isinstance(cell, str):
        return cell.encode("utf-8", "backslashreplace").decode()
    return cell
