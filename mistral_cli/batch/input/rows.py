"""The rows of a batch, from whole files, lines, JSON objects, tables and OpenAI requests.

They are read as they are needed: `read_rows` opens the first input, and each row is made when the
batch asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from mistral_cli.batch.input.files import InputFile, find_input_files
from mistral_cli.batch.input.live import ReadAhead
from mistral_cli.batch.input.openai import is_request, read_request
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system.encodings import AUTO, DecodedBlocks
from mistral_cli.texts.binaries import refuse_binary
from mistral_cli.texts.documents import is_document
from mistral_cli.texts.inputs import STDIN, display_name, text_from_bytes
from mistral_cli.texts.tabular import ParsedRow, parse_jsonl, parse_table, split_lines, too_long

if TYPE_CHECKING:
    from mistral_cli.models.chat import Message
    from mistral_cli.system.terminal import Terminal

FORMAT_OF_SUFFIX = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.CSV,
    ".tab": InputFormat.CSV,
}
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

    def __init__(self, reader: _RowReader, files: Sequence[InputFile], *, is_live: bool) -> None:
        self._terminal = reader.terminal
        items = reader.items(files)
        self._ahead = ReadAhead(items, _size) if is_live else None
        self._rows = self._reported(self._ahead or items)
        self._first: Row | None = None
        self.unread: list[str] = []
        """The folders that cannot be read, each with the reason; complete after the last row."""

    @property
    def fraction(self) -> float | None:
        """The part of the input that has been read, from 0 to 1; None if that is unknown."""
        return None

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
) -> InputRows:
    """Return the rows in files, globs, folders and stdin ("-", or no name at all), in order.

    The suffix decides how a file is read unless `input_format` does; `outputs` are left out, as in
    `find_input_files`. With `html_is_text` the source of a web page is not converted. A problem
    with one row becomes its `error`. Waits for the first row. Raises UsageError for a name that
    matches no file, a missing column in a table that was named, and if there are no rows at all;
    what is wrong with a table in a folder is the error of a row.
    """
    columns = Columns(text_field or _TEXT, id_field, expected_field)
    files, unread = find_input_files(names, terminal, outputs)
    reader = _RowReader(
        terminal, input_format, columns, encoding, has_header, html_is_text, bool(names)
    )
    reader.check_tables(file for file in files if file.is_named)
    is_live = any(file.is_named and is_endless(file.path, terminal) for file in files)
    rows = InputRows(reader, files, is_live=is_live)
    rows.unread = unread
    rows.check_first()
    return rows


def check_unique(rows: Iterable[Row]) -> None:
    """Raise UsageError if two rows have the same id."""
    source_of: dict[str, str] = {}
    for row in rows:
        if row.id in source_of:
            raise UsageError(
                f"the id {row.id!r} occurs twice: in {source_of[row.id]} and {row.source}",
                hint="Use --id-field to name a field that is different in each row.",
            )
        source_of[row.id] = row.source


class _BadTable(Exception):
    """A table has a header that no row can be read with."""

    def __init__(self, error: UsageError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True)
class _RowReader:
    """How files are read; see `read_rows`. `is_named` is False if stdin is read by default."""

    terminal: Terminal
    input_format: InputFormat | None
    columns: Columns
    encoding: str
    has_header: bool
    html_is_text: bool
    is_named: bool

    def items(self, files: Iterable[InputFile]) -> Iterator[Row | str]:
        """Yield the rows of the files, and texts: warnings, for the thread that reports them."""
        started = False
        for file in files:
            before = started
            is_empty = True
            try:
                for item in self._items_of(file):
                    yield item
                    if not isinstance(item, str):
                        is_empty, started = False, True
            except (_BadTable, UsageError) as error:
                problem = error.error if isinstance(error, _BadTable) else error
                is_fatal = isinstance(error, _BadTable) or file.path == STDIN
                if is_fatal and not before:
                    raise problem from None
                yield _file_row(file, error=problem)
                is_empty, started = False, True
            if is_empty:
                yield f"{display_name(file.path)} has no rows"

    def check_tables(self, files: Iterable[InputFile]) -> None:
        """Raise UsageError for a table that lacks a column."""
        for file in files:
            if file.path == STDIN or self._format(file.path) is not InputFormat.CSV:
                continue
            if not is_endless(file.path, self.terminal):
                try:
                    next((item for item in self._items_of(file) if isinstance(item, Row)), None)
                except _BadTable as bad:
                    raise bad.error from None
                except UsageError:
                    continue  # the error of its row

    def _items_of(self, file: InputFile) -> Iterator[Row | str]:
        name = display_name(file.path)
        if file.path == STDIN:
            blocks = open_stdin(self.terminal, is_named=self.is_named)
        else:
            blocks = open_file(file.path)
        try:
            if (input_format := self._format(file.path, blocks.start)) is InputFormat.TEXT:
                yield from self._whole_file(file, blocks)
                return
            refuse_binary(blocks.start, name)
            text = DecodedBlocks(blocks, name, self.encoding, is_live=blocks.is_live)
            known: tuple[str, ...] = ()
            for row in self._parsed(file, text, input_format):
                if text.warnings is not known:
                    known = text.warnings
                    yield from known
                if known or text.replaced:
                    row.warnings = (*known, *_damage(row, name, text), *row.warnings)
                yield row
            yield from text.damage
        except OSError as error:
            raise unreadable(file.path, error) from error

    def _format(self, path: Path, start: bytes = b"") -> InputFormat:
        if self.input_format is not None:
            return self.input_format
        if path == STDIN:
            return InputFormat.TEXT if is_document("stdin", start) else InputFormat.LINES
        return FORMAT_OF_SUFFIX.get(path.suffix.lower(), InputFormat.TEXT)

    def _whole_file(self, file: InputFile, blocks: InputBlocks) -> Iterator[Row | str]:
        name, data = display_name(file.path), blocks.whole()
        text = text_from_bytes(data, name, self.encoding, html_is_text=self.html_is_text)
        yield from text.warnings
        row = _file_row(file, text.text)
        row.original, row.warnings = text.original, text.warnings
        yield _not_blank(row)

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
        delimiter = "\t" if file.path.suffix.lower() in {".tsv", ".tab"} else None
        try:
            header, objects = parse_table(
                chain((start,), blocks), name, delimiter, has_header=self.has_header
            )
            self.columns.check(header, name)
        except UsageError as error:
            raise _BadTable(error) from error
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
