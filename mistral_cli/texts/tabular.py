"""JSONL and CSV files → rows with their line numbers; an unreadable row does not stop the rest.

Tables are read as Excel and Python's csv module write them. What a file does not say (its
delimiter, how it escapes a quote) is what makes its rows as long as its header.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, product, zip_longest
from typing import Any

from mistral_cli.errors import UsageError
from mistral_cli.system import strict_json

_CELL_LIMIT = min(sys.maxsize, 2**31 - 1)  # characters; fits a C long on every platform
_DELIMITERS = "\t;|,"  # of two that fit equally well, the one that is rarer in prose
_NO_DELIMITER = "\x1f"  # for a table of one column, whose cells may contain any of them
_SAMPLE_ROWS, _SAMPLE_TEXT = 100, 1_000_000  # rows and characters that are tried in each dialect
_PADDING = "\0\x1a"  # at the end of files that a crash or DOS has filled up
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\r\n])"?[,;\t|]*(?:\r\n?|\n|\Z)', re.IGNORECASE)
_QUOTES = re.compile(r'(?m)(?:^|[,;\t|])"')
_APOSTROPHES = re.compile(r"(?m)(?:^|[,;\t|])'")
_ESCAPED = re.compile(r"""\\["',;\t|]""")  # as MySQL writes it
_BLANK_AND_QUOTE = re.compile(r"""[,;\t|] +["']""")  # as people write it


@dataclass(frozen=True)
class ParsedRow:
    """A JSON object or a table row, or the reason why it cannot be read; lines count from 1.

    `warnings` say what is odd about a row that can be read.
    """

    line: int
    value: Mapping[str, Any] | UsageError
    warnings: tuple[str, ...] = ()


Record = tuple[int, list[str] | UsageError]
"""The cells of a table's row, or why they cannot be read, after the line that they begin on."""


def parse_jsonl(text: str, source: str) -> Iterator[ParsedRow]:
    """Parse one JSON object per line; empty lines are skipped."""
    for number, line in enumerate(split_lines(text), 1):
        if line and not line.isspace():
            yield ParsedRow(number, _json_object(line, f"{source}:{number}"))


def split_lines(text: str) -> list[str]:
    """Split at "\\n" or, in a text without it, at "\\r", as old Macs ended lines."""
    # `splitlines` would also split at U+2028 and the like, which a JSON string may contain.
    return text.split("\n" if "\n" in text else "\r")


def parse_table(
    text: str, source: str, delimiter: str | None = None, *, has_header: bool = True
) -> tuple[list[str], Iterator[ParsedRow]]:
    """Parse a table's header (empty if there is none) and its rows.

    Quoted cells may contain line ends; blank rows are skipped, and columns without a name. Without
    a header, the names are 1, 2, 3 … Raises UsageError for a header that cannot be read or names a
    column twice.
    """
    records = read_records(text, source, delimiter)
    first = next(records, (0, []))
    if isinstance(first[1], UsageError):
        raise first[1]
    if has_header:
        names = [name.strip() for name in first[1]]
    else:
        names = [str(number) for number in range(1, len(first[1]) + 1)]
    header = [name for name in names if name]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"{source} names the column {twice!r} twice", hint="Give every column its own name."
        )
    rows = (_named(names, record, source) for record in records)
    return header, rows if has_header else _after(_named(names, first, source), rows)


def read_records(
    text: str,
    source: str,
    delimiter: str | None = None,
    *,
    width: int | None = None,
    comments: bool = False,
) -> Iterator[Record]:
    """Yield the rows of a table that are not blank.

    `delimiter` is the likely one, and `width` the expected number of cells. A `sep=;` line, as
    Excel writes it, is not a row; nor is one that begins with #, with `comments`.
    """
    csv.field_size_limit(_CELL_LIMIT)
    separator = _SEPARATOR_LINE.match(text)
    before = 0
    if separator:
        text, before = text[separator.end() :], 1
        dialect = _fitting(text, separator[1], width, comments=comments)
    else:
        dialect = None
        if delimiter:
            dialect = _fitting(text, delimiter, width, comments=comments)
        dialect = dialect or _fitting(text, _DELIMITERS, width, comments=comments)
    dialect = dialect or _Dialect(separator[1] if separator else _NO_DELIMITER)
    for line, cells in _records(text, dialect, comments=comments):
        if isinstance(cells, csv.Error):
            hint = 'Quote cells as "..." and double a quote within: "".'
            problem = f"{source}:{line + before} is not CSV: {cells}"
            yield line + before, UsageError(problem, hint=hint)
        else:
            yield line + before, cells


# Dialects


@dataclass(frozen=True)
class _Dialect:
    """How a table is written, in the csv module's terms."""

    delimiter: str
    quotechar: str = '"'
    escapechar: str | None = None
    skipinitialspace: bool = False


def _fitting(text: str, delimiters: str, width: int | None, *, comments: bool) -> _Dialect | None:
    """Return the dialect that fits the first rows best; None if none splits the first one."""
    sample = text[:_SAMPLE_TEXT]
    plain = [_Dialect(delimiter) for delimiter in delimiters]
    # Other ways to write a table are tried only where there is a sign of them.
    quotes = "\"'" if _APOSTROPHES.search(sample) and not _QUOTES.search(sample) else '"'
    escapes = (None, "\\") if _ESCAPED.search(sample) else (None,)
    blanks = (False, True) if _BLANK_AND_QUOTE.search(sample) else (False,)
    others = [_Dialect(*each) for each in product(delimiters, quotes, escapes, blanks)]
    best, best_score = None, _Score()
    for dialect in (*plain, *others):
        score = _score(sample, dialect, width, comments=comments)
        if score > best_score:
            best, best_score = dialect, score
        if dialect == plain[-1] and best_score.is_perfect:
            break
    return best


@dataclass(frozen=True, order=True)
class _Score:
    """How well a dialect fits: the rows of the expected length, then that length."""

    fitting: int = 0
    expected: int = 0
    is_perfect: bool = field(default=False, compare=False)


def _score(sample: str, dialect: _Dialect, width: int | None, *, comments: bool) -> _Score:
    """Count the rows that are as long as the first one, or as `width`."""
    rows = [
        cells for _, cells in islice(_records(sample, dialect, comments=comments), _SAMPLE_ROWS)
    ]
    if not rows or isinstance(rows[0], csv.Error) or len(rows[0]) < 2:
        return _Score()
    expected = width or _length(rows[0])
    fitting = sum(
        isinstance(cells, list) and _length(cells) <= expected <= len(cells) for cells in rows
    )
    in_quotes = all(cell[:1] == cell[-1:] == "'" for cell in rows[0])
    return _Score(fitting - in_quotes, expected, fitting - in_quotes == len(rows))


def _length(cells: Sequence[str]) -> int:
    """Return the number of cells without blank ones at the end, which spreadsheets add."""
    for number in range(len(cells), 0, -1):
        if cells[number - 1].strip().strip(_PADDING):
            return number
    return 0


def _records(
    text: str, dialect: _Dialect, *, comments: bool
) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the rows that are not blank, and the lines they begin on; continue after a bad one."""
    lines = io.StringIO(text, newline="")  # ends lines at "\n", "\r\n" and "\r"
    between_rows = True

    def rows_lines() -> Iterator[str]:
        nonlocal between_rows
        for line in lines:
            is_comment = comments and between_rows and line.lstrip().startswith("#")
            between_rows = False
            yield "\n" if is_comment else line

    # Strict, because a missing quote would otherwise turn the rest of the file into one cell.
    reader = csv.reader(rows_lines(), strict=True, **asdict(dialect))
    while True:
        between_rows, number = True, reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, error
        else:
            if _length(cells):
                yield number, cells


# Rows


def _json_object(line: str, where: str) -> Mapping[str, Any] | UsageError:
    hint = "Each line must be one JSON object."
    try:
        value = strict_json.loads(line.removeprefix("\ufeff"))  # of files that were concatenated
    except (ValueError, RecursionError) as error:
        return UsageError(f"{where} is not JSON: {error}", hint=hint)
    if not isinstance(value, dict):
        return UsageError(f"{where} is not a JSON object", hint=hint)
    return value


def _named(names: Sequence[str], record: Record, source: str) -> ParsedRow:
    line, cells = record
    if isinstance(cells, UsageError):
        return ParsedRow(line, cells)
    warnings: tuple[str, ...] = ()
    if len(cells) != len(names) and (_length(cells) > len(names) or len(cells) < _length(names)):
        counted = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        problem = f"{source}:{line} has {counted} where the header has {_length(names)}"
        if len(cells) > len(names):
            hint = "Quote cells that contain the delimiter or a line end."
            return ParsedRow(line, UsageError(problem, hint=hint))
        warnings = (f"{problem}: the last ones are empty",)
    value = {name: cell for name, cell in zip_longest(names, cells, fillvalue="") if name}
    return ParsedRow(line, value, warnings)


def _after(first: ParsedRow, rows: Iterator[ParsedRow]) -> Iterator[ParsedRow]:
    yield first
    yield from rows
