"""JSONL and CSV files → rows with their line numbers; an unreadable row does not stop the rest."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mistral_cli.errors import UsageError
from mistral_cli.system import strict_json

_CELL_LIMIT = min(sys.maxsize, 2**31 - 1)  # characters; fits a C long on every platform


@dataclass(frozen=True)
class ParsedRow:
    """A JSON object or a table row, or the reason why it cannot be read; lines count from 1."""

    line: int
    value: Mapping[str, Any] | UsageError


def parse_jsonl(text: str, source: str) -> Iterator[ParsedRow]:
    """Parse one JSON object per line; empty lines are skipped."""
    # `splitlines` would also split at U+2028 and the like, which a JSON string may contain.
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.isspace():
            yield ParsedRow(number, _json_object(line, f"{source}:{number}"))


def parse_table(
    text: str, source: str, delimiter: str | None = None
) -> tuple[list[str], Iterator[ParsedRow]]:
    """Parse a table's header (empty if there is none) and its rows.

    Quoted cells may contain line ends. Without `delimiter`, it is the comma, semicolon or tab,
    whichever is most frequent in the header. Raises UsageError for a header that cannot be read
    or names a column twice.
    """
    csv.field_size_limit(_CELL_LIMIT)
    if delimiter is None:
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
    # Strict, because a missing quote would otherwise turn the rest of the file into one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = _table_rows(reader, source)
    _, header = next(rows, (0, []))
    if isinstance(header, UsageError):
        raise header
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"{source} names the column {twice!r} twice", hint="Give every column its own name."
        )
    return header, (
        ParsedRow(line, _named(header, cells, f"{source}:{line}")) for line, cells in rows
    )


def _json_object(line: str, where: str) -> Mapping[str, Any] | UsageError:
    hint = "Each line must be one JSON object."
    try:
        value = strict_json.loads(line)
    except (ValueError, RecursionError) as error:
        return UsageError(f"{where} is not JSON: {error}", hint=hint)
    if not isinstance(value, dict):
        return UsageError(f"{where} is not a JSON object", hint=hint)
    return value


def _table_rows(reader: Any, source: str) -> Iterator[tuple[int, list[str] | UsageError]]:
    """Yield each row and the line it starts on; `reader` continues after a bad row."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = 'Quote cells as "..." and double a quote within: "".'
            yield line, UsageError(f"{source}:{line} is not CSV: {error}", hint=hint)
        else:
            if cells:
                yield line, cells


def _named(
    header: list[str], cells: list[str] | UsageError, where: str
) -> Mapping[str, str] | UsageError:
    if isinstance(cells, UsageError):
        return cells
    if len(cells) != len(header):
        return UsageError(
            f"{where} has {len(cells)} cells where the header has {len(header)}",
            hint="Quote cells that contain the delimiter or a line end.",
        )
    return dict(zip(header, cells, strict=True))
