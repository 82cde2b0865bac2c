"""The rows of a batch, from whole files, lines, JSON objects, tables and OpenAI requests.

They are read as they are needed: `read_rows` opens the first input, and each row is made when the
batch asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.input.blocks import (
    InputBlocks,
    is_endless,
    open_file,
    open_stdin,
    unreadable,
)
from mistral_cli.batch.input.columns import Columns, scalar_fields
from mistral_cli.batch.input.files import InputFile, InputFiles, find_input_files
from mistral_cli.batch.input.live import ReadAhead
from mistral_cli.batch.input.openai import is_request, read_request
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system.encodings import AUTO, DecodedBlocks
from mistral_cli.texts.binaries import refuse_binary
from mistral_cli.texts.compressed import without_suffix
from mistral_cli.texts.documents import is_document
from mistral_cli.texts.inputs import STDIN, display_name, text_from_bytes
from mistral_cli.texts.tabular import ParsedRow, parse_jsonl, parse_table, split_lines, too_long

if TYPE_CHECKING:
    from mistral_cli.batch.input.columns import TypedTable
    from mistral_cli.models.chat import Message
    from mistral_cli.system.terminal import Terminal

_FORMAT_OF_SUFFIX = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.CSV,
    ".tab": InputFormat.CSV,
    ".parquet": InputFormat.PARQUET,
    ".arrow": InputFormat.ARROW,
    ".feather": InputFormat.ARROW,
}
TABLES = (InputFormat.CSV, InputFormat.PARQUET, InputFormat.ARROW)
"""Formats with a header: what it lacks, all rows lack."""

_TEXT = "text"
_REPLACEMENT = "\ufffd"


@dataclass(slots=True)  # frozen, it takes 1 µs longer to make, for each of a million rows
class Row:
    """One input of a batch, or the `error` that makes it unusable.

    `source` is a file, or a file (or "stdin") and a line. `columns` are all columns as texts, in
    their order. An OpenAI request has a `conversation` and `overrides` (settings under our options'
    names) instead of a text. If the row is a whole file, `path` is that file, `relative` its path
    below the folder or the fixed part of the glob, and `original` as in `Text`. `warnings` are
    about how the row was read. `expected` is the known answer, which only an evaluation reads.
    """

    id: str
    source: str
    text: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    conversation: tuple[Message, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    relative: Path | None = None
    original: str = field(default="", compare=False)
    error: MistralCliError | None = None
    warnings: tuple[str, ...] = ()
    expected: Any = None

    @property
    def fields(self) -> dict[str, str]:
        """The columns for {name} in a prompt; {text} is this row's text, whatever its column."""
        return {name: text for name, text in self.columns.items() if name != _TEXT}


class InputRows:
    """The rows of a batch, which are read as they are asked for; iterate over them once.

    Iterating raises UsageError for an input that no row can be read from, if no row came before.
    """

    def __init__(self, reader: _RowReader, files: InputFiles, *, is_live: bool) -> None:
        self._reader, self._terminal = reader, reader.terminal
        self.is_live = is_live
        """Whether rows come from a pipe, so that the next one may come late or never."""
        self.unread = files.unread
        """The folders that cannot be read, each with the reason; complete after the last row."""
        items = reader.items(files)
        self._ahead = ReadAhead(items, _size) if is_live else None
        self._rows = self._reported(self._ahead or items)
        self._first: Row | None = None

    @property
    def fraction(self) -> float | None:
        """The part of the input that has been read, from 0 to 1; None if that is unknown."""
        return None if self.is_live else self._reader.fraction

    def is_ready(self) -> bool:
        """Whether the next row, or the end of the rows, can be had without waiting for a pipe."""
        return self._first is not None or self._ahead is None or self._ahead.is_ready()

    def check_first(self) -> None:
        """Wait for the first row. Raises UsageError if there is none."""
        self._first = next(self._rows, None)
        if self._first is None:
            raise UsageError("there are no rows", hint="Name files, globs, folders, or - (stdin).")

    def __iter__(self) -> Iterator[Row]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._rows

    def _reported(self, items: Iterator[Row | str]) -> Iterator[Row]:
        for item in items:
            if isinstance(item, str):
                self._terminal.warn(item)
            else:
                yield item


def format_of(path: Path) -> InputFormat | None:
    """Return how a file is split into rows by its suffix; None if it is one row."""
    return _FORMAT_OF_SUFFIX.get(without_suffix(path).suffix.lower())


def read_rows(
    names: Sequence[str],
    terminal: Terminal,
    *,
    outputs: Sequence[Path] = (),
    input_format: InputFormat | None = None,
    text_field: str | None = None,
    id_field: str | None = None,
    expected_field: str | None = None,
    encoding: str = AUTO,
    has_header: bool = True,
    html_is_text: bool = False,
    query: str | None = None,
) -> InputRows:
    """Return the rows in files, globs, folders and stdin ("-", or no name at all), in order.

    The suffix decides how a file is read unless `input_format` does; `outputs` are left out, as in
    `find_input_files`. With `html_is_text` the source of a web page is not converted. With an SQL
    `query` the inputs are SQLite databases. A problem with one row becomes its `error`.

    Waits for the first row. Raises UsageError for a name that matches no file, a missing column in
    a table that was named, and if there are no rows at all; what is wrong with another table is the
    error of a row.
    """
    columns = Columns(text_field or _TEXT, id_field, expected_field)
    files = find_input_files(names, outputs)
    reader = _RowReader(
        terminal, input_format, columns, encoding, has_header, html_is_text, bool(names), query
    )
    if len(files.named) > 1:
        reader.check_tables(files.named)
    rows = InputRows(
        reader, files, is_live=any(is_endless(file.path, terminal) for file in files.named)
    )
    rows.check_first()
    return rows


def check_unique(rows: Iterable[Row]) -> None:
    """Raise UsageError if two rows have the same id."""
    source_of: dict[str, str] = {}
    for row in rows:
        if row.id in source_of:
            raise repeated_id(row, f"in {source_of[row.id]} and {row.source}")
        source_of[row.id] = row.source


def repeated_id(row: Row, where: str) -> UsageError:
    """Return the error for an id that another row has."""
    return UsageError(
        f"the id {row.id!r} occurs twice: {where}",
        hint="Use --id-field to name a field that is different in each row.",
    )


class _BadTable(Exception):
    """A table has a header that no row can be read with."""

    def __init__(self, error: UsageError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass
class _RowReader:
    """How files are read; see `read_rows`. `is_named` is False if stdin is read by default."""

    terminal: Terminal
    input_format: InputFormat | None
    columns: Columns
    encoding: str
    has_header: bool
    html_is_text: bool
    is_named: bool
    query: str | None
    _file: InputFile | None = None  # that is being read, and how much of it has been read
    _part: Callable[[], float | None] = lambda: None

    @property
    def fraction(self) -> float | None:
        """The part of the inputs that has been read; None if that is unknown."""
        if self._file is None or (part := self._part()) is None:
            return None
        return self._file.span.at(part)

    def items(self, files: InputFiles) -> Iterator[Row | str]:
        """Yield the rows of the files, and texts: warnings, for the thread that reports them."""
        rows, skipped = 0, 0
        for file in files:
            before = rows
            try:
                for item in self._items_of(file):
                    rows += not isinstance(item, str)
                    yield item
            except (_BadTable, UsageError) as error:
                problem = error.error if isinstance(error, _BadTable) else error
                if not rows and (isinstance(error, _BadTable) or file.path == STDIN):
                    raise problem from None
                if rows > before:
                    problem = problem.with_message(
                        f"{problem.message}; rows that came before: {rows - before:,}"
                    )
                yield _file_row(file, error=problem)
                rows += 1
            if rows == before:
                yield f"{display_name(file.path)} has no rows"
            for folder in files.unread[skipped:]:
                yield f"skipping {folder}"
            skipped = len(files.unread)
        for folder in files.unread[skipped:]:
            yield f"skipping {folder}"

    def check_tables(self, files: Iterable[InputFile]) -> None:
        """Raise UsageError for a table that lacks a column."""
        for file in files:
            path = file.path
            if path == STDIN or is_endless(path, self.terminal) or self._format(path) not in TABLES:
                continue
            try:
                next((item for item in self._items_of(file) if isinstance(item, Row)), None)
            except _BadTable as bad:
                raise bad.error from None
            except UsageError:
                continue  # the error of its row

    def _items_of(self, file: InputFile) -> Iterator[Row | str]:
        name = display_name(file.path)
        self._file, self._part = file, lambda: None
        if (table := self._typed_table(file.path)) is not None:
            self._part = lambda: table.fraction
            self._check(table.header, name)
            yield from _object_rows(table.rows, name, self.columns)
            return
        try:
            if file.path == STDIN:
                blocks = open_stdin(self.terminal, is_named=self.is_named)
            else:
                blocks = open_file(file.path)
            self._part = lambda: blocks.fraction
            yield from self._items_in(file, blocks)
        except OSError as error:
            raise unreadable(file.path, error) from error

    def _items_in(self, file: InputFile, blocks: InputBlocks) -> Iterator[Row | str]:
        name = display_name(file.path)
        input_format = self._format(file.path, blocks.start)
        if input_format is InputFormat.TEXT:
            text = text_from_bytes(
                blocks.whole(), name, self.encoding, html_is_text=self.html_is_text
            )
            yield from text.warnings
            row = _file_row(file, text.text)
            row.original, row.warnings = text.original, text.warnings
            yield _not_blank(row)
            return
        refuse_binary(blocks.start, name)
        decoded = DecodedBlocks(blocks, name, self.encoding, is_live=blocks.is_live)
        known: tuple[str, ...] = ()
        for row in self._parsed(file, decoded, input_format):
            if decoded.warnings is not known:
                known = decoded.warnings
                yield from known
            if known or decoded.replaced:
                row.warnings = (*known, *_damage(row, name, decoded), *row.warnings)
            yield row
        yield from decoded.damage

    def _typed_table(self, path: Path) -> TypedTable | None:
        """Open a file whose values have types, if it is such a file."""
        if self.query is not None:
            from mistral_cli.batch.input.sqlite import open_query

            try:
                return open_query(path, self.query)
            except UsageError as error:
                raise _BadTable(error) from error
        input_format = self.input_format or format_of(path)
        if input_format not in (InputFormat.PARQUET, InputFormat.ARROW):
            return None
        from mistral_cli.batch.input.arrow import check_readable, open_columns

        try:
            check_readable(path)
        except UsageError as error:
            raise _BadTable(error) from error
        return open_columns(path, is_parquet=input_format is InputFormat.PARQUET)

    def _format(self, path: Path, start: bytes = b"") -> InputFormat:
        if self.input_format is not None:
            return self.input_format
        if path == STDIN:
            return InputFormat.TEXT if is_document("stdin", start) else InputFormat.LINES
        return format_of(path) or InputFormat.TEXT

    def _check(self, header: Sequence[str], name: str) -> None:
        try:
            self.columns.check(header, name)
        except UsageError as error:
            raise _BadTable(error) from error

    def _parsed(
        self, file: InputFile, text: DecodedBlocks, input_format: InputFormat
    ) -> Iterator[Row]:
        name = display_name(file.path)
        if input_format is InputFormat.LINES:
            return _line_rows(text, name)
        if input_format is InputFormat.JSONL:
            return _object_rows(parse_jsonl(text, name), name, self.columns)
        blocks = iter(text)
        start = next(blocks, "")  # its encoding may be wrong, which is another error
        is_tsv = without_suffix(file.path).suffix.lower() in {".tsv", ".tab"}
        try:
            header, objects = parse_table(
                chain((start,), blocks),
                name,
                "\t" if is_tsv else None,
                has_header=self.has_header,
            )
        except UsageError as error:
            raise _BadTable(error) from error
        self._check(header, name)
        return _object_rows(objects, name, self.columns)


def _size(item: Row | str) -> int:
    """The number of characters that an item has, about."""
    return len(item) if isinstance(item, str) else len(item.text)


def _damage(row: Row, name: str, text: DecodedBlocks) -> tuple[str, ...]:
    """The warning of a row in which invalid bytes were replaced, as far as one can see."""
    if not text.replaced:
        return ()
    cells = (row.text, *row.columns.values(), *(each.content for each in row.conversation))
    if row.error is None and not any(_REPLACEMENT in cell for cell in cells):
        return ()
    return (f"{name} has invalid bytes here; replaced with {_REPLACEMENT}",)


def _file_row(file: InputFile, text: str = "", error: UsageError | None = None) -> Row:
    name = display_name(file.path)
    if file.path == STDIN:
        return Row(name, name, text, error=error)
    return Row(name, name, text, path=file.path, relative=file.relative, error=error)


def _line_rows(text: Iterable[str], name: str) -> Iterator[Row]:
    for number, line in enumerate(split_lines(text), 1):
        if line is None:
            where = f"{name}:{number}"
            yield Row(where, where, error=too_long(where))
        elif line and not line.isspace():
            where = f"{name}:{number}"
            row = Row(where, where, line.removesuffix("\r"))
            yield _not_blank(row) if "\0" in line else row


def _object_rows(objects: Iterable[ParsedRow], name: str, columns: Columns) -> Iterator[Row]:
    for line, value, warnings in objects:
        where = f"{name}:{line}"
        if isinstance(value, UsageError):
            row = Row(where, where, error=value)
        elif is_request(value):
            row = _request_row(value, where)
        else:
            row = _fields_row(value, where, columns)
        if warnings:
            row.warnings = warnings
        yield row


def _request_row(request: Mapping[str, Any], where: str) -> Row:
    custom_id = request["custom_id"]
    row_id = custom_id if isinstance(custom_id, str) and custom_id else where
    try:
        conversation, overrides = read_request(request)
    except UsageError as error:
        return Row(row_id, where, error=error.with_message(f"{where}: {error.message}"))
    return Row(row_id, where, conversation=conversation, overrides=overrides)


def _fields_row(values: Mapping[str, Any], where: str, columns: Columns) -> Row:
    cells, row_id = scalar_fields(values), where
    if columns.expected is None and (plain := columns.plain(values)):
        return _not_blank(Row(plain[0], where, plain[1], cells))
    try:
        row_id = columns.id_of(values, where)
        text = columns.text_of(values, where)
    except UsageError as error:
        return Row(row_id, where, columns=cells, error=error)
    row = Row(row_id, where, text, cells)
    if columns.expected is not None:
        row.expected = columns.expected_of(values)
    return _not_blank(row)


def _not_blank(row: Row) -> Row:
    text = row.text
    if text and not text.isspace() and ("\0" not in text or text.replace("\0", "").strip()):
        return row
    empty = UsageError(f"{row.source} is empty", hint="Add a text, or remove the row.")
    return replace(row, text="", error=empty)
