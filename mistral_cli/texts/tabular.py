"""JSONL and CSV files → rows with their line numbers; an unreadable row does not stop the rest.

Tables are read as Excel and Python's csv module write them. What a file does not say (its
delimiter, how it escapes a quote) is what makes its rows as long as its header.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice, product, zip_longest
from typing import Any, NamedTuple

from mistral_cli.errors import UsageError
from mistral_cli.system import strict_json

_DELIMITERS = "\t;|,"  # of two that fit equally well, the one that is rarer in prose
_NO_DELIMITER = "\x1f"  # for a table of one column, whose cells may contain any of them
_SAMPLE_ROWS, _SAMPLE_TEXT = 100, 1_000_000  # rows and characters that are tried in each dialect
_PADDING = "\0\x1a"  # at the end of files that a crash or DOS has filled up
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"\r\n])"?[,;\t|]*(?:\r\n?|\n|\Z)', re.IGNORECASE)
_QUOTES = re.compile(r'(?m)(?:^|[,;\t|])"')
_APOSTROPHES = re.compile(r"(?m)(?:^|[,;\t|])'")
_ESCAPED = re.compile(r"""\\["',;\t|]""")  # as MySQL writes it
_BLANK_AND_QUOTE = re.compile(r"""[,;\t|] +["']""")  # as people write it


LONGEST_ROW = 64 * 2**20
"""Characters of a row: more than any model's context, and a limit to the memory that a row takes.

Without it, an archive of zeros or a quote that is never closed would fill the memory.
"""


class ParsedRow(NamedTuple):
    """A JSON object or a table row, or the reason why it cannot be read; lines count from 1.

    `warnings` say what is odd about a row that can be read.
    """

    line: int
    value: Mapping[str, Any] | UsageError
    warnings: tuple[str, ...] = ()


Record = tuple[int, list[str] | UsageError]
"""The cells of a table's row, or why they cannot be read, after the line that they begin on."""


def parse_jsonl(blocks: Iterable[str], source: str) -> Iterator[ParsedRow]:
    """Parse one JSON object per line of a text that comes in blocks; empty lines are skipped."""
    for number, line in enumerate(split_lines(blocks), 1):
        if line is None:
            yield ParsedRow(number, too_long(f"{source}:{number}"))
        elif line and not line.isspace():
            value = strict_json.flat_object(line)
            yield ParsedRow(number, value or _json_object(line, f"{source}:{number}"))


def split_lines(blocks: Iterable[str]) -> Iterator[str | None]:
    """Yield the lines of a text that comes in blocks; None for one of more than LONGEST_ROW.

    They end at "\\n" or, if the first million characters have none, at "\\r", as on old Macs.
    """
    # `splitlines` would also split at U+2028 and the like, which a JSON string may contain.
    end, rest = "", _Rest()
    for block in blocks:
        end = end or _line_end(block, rest)
        if not end or end not in block:
            rest.add(block)
            continue
        first, *lines = block.split(end)
        yield rest.taken(first)
        rest.add(lines.pop())
        yield from lines
    if not end and rest.parts:
        text = rest.taken("")
        yield from [None] if text is None else text.split("\r")
    else:
        yield rest.taken("")


def _line_end(block: str, rest: _Rest) -> str:
    """Return what ends the lines of a text, if `block` or the `rest` before it shows it."""
    if "\n" in block:
        return "\n"
    return "\r" if rest.size > _SAMPLE_TEXT and "\r" in block else ""


class _Rest:
    """The beginning of a line whose end has not been read yet."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0

    def add(self, part: str) -> None:
        """Keep a part, unless the line is too long already."""
        self.size += len(part)
        if self.size > LONGEST_ROW:
            self.parts.clear()
        elif part:
            self.parts.append(part)

    def taken(self, part: str) -> str | None:
        """Return the line that ends with `part`, and begin the next one."""
        self.add(part)
        line = "".join(self.parts) if self.size <= LONGEST_ROW else None
        self.parts.clear()
        self.size = 0
        return line


def too_long(where: str) -> UsageError:
    """Return the error for a row that has more than LONGEST_ROW characters."""
    limit = f"{LONGEST_ROW // 2**20} million characters"
    return UsageError(
        f"{where} has more than {limit}", hint="Split the text, or check that it has line ends."
    )


def parse_table(
    blocks: Iterable[str], source: str, delimiter: str | None = None, *, has_header: bool = True
) -> tuple[list[str], Iterator[ParsedRow]]:
    """Parse the header (empty if there is none) and the rows of a table that comes in blocks.

    Quoted cells may contain line ends; blank rows are skipped, and columns without a name. Without
    a header, the names are 1, 2, 3 … Raises UsageError for a header that cannot be read or names a
    column twice.
    """
    records = read_records(blocks, source, delimiter)
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
    blocks: Iterable[str],
    source: str,
    delimiter: str | None = None,
    *,
    width: int | None = None,
    comments: bool = False,
) -> Iterator[Record]:
    """Yield the rows of a table that are not blank; its first block tells how it is written.

    `delimiter` is the likely one, and `width` the expected number of cells. A `sep=;` line, as
    Excel writes it, is not a row; nor is one that begins with #, with `comments`.
    """
    csv.field_size_limit(LONGEST_ROW)
    blocks = iter(blocks)
    start = _start_of_table(blocks)
    separator = _SEPARATOR_LINE.match(start)
    before = 0
    if separator:
        start, before = start[separator.end() :], 1
        dialect = _fitting(start, separator[1], width, comments=comments)
    else:
        dialect = None
        if delimiter:
            dialect = _fitting(start, delimiter, width, comments=comments)
        dialect = dialect or _fitting(start, _DELIMITERS, width, comments=comments)
    dialect = dialect or _Dialect(separator[1] if separator else _NO_DELIMITER)
    blocks = chain((start,), blocks)
    for line, cells in _records(blocks, dialect, comments=comments):
        if isinstance(cells, csv.Error):
            hint = 'Quote cells as "..." and double a quote within: "".'
            problem = f"{source}:{line + before} is not CSV: {cells}"
            yield line + before, UsageError(problem, hint=hint)
        else:
            yield line + before, cells


def _start_of_table(blocks: Iterator[str]) -> str:
    """Take blocks until they contain the end of a line that has a word."""
    start = ""
    for block in blocks:
        start += block
        if len(start) > _SAMPLE_TEXT or "\n" in start.lstrip():
            break
    return start


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
        cells for _, cells in islice(_records((sample,), dialect, comments=comments), _SAMPLE_ROWS)
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
    blocks: Iterable[str], dialect: _Dialect, *, comments: bool
) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Yield the rows that are not blank, and the lines they begin on; continue after a bad one."""
    lines = _lines_with_ends(blocks)
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


def _lines_with_ends(blocks: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text that comes in blocks; they end at "\\n", "\\r\\n" and "\\r"."""
    rest: list[str] = []
    size = 0
    for block in blocks:
        end = block.rfind("\n") + 1
        # A "\r" at the end of a block may be followed by a "\n".
        end = end or block.rfind("\r", 0, -1) + 1
        if end:
            yield from io.StringIO("".join((*rest, block[:end])), newline="")
            rest, size = [], 0
        rest.append(block[end:])
        size += len(block) - end
        if size > LONGEST_ROW:  # the csv module reports it
            yield "".join(rest)
            rest, size = [], 0
    yield from io.StringIO("".join(rest), newline="")


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
    if len(cells) == len(names) and "" not in names:
        return ParsedRow(line, dict(zip(names, cells, strict=True)))
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
