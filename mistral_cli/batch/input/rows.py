"""The rows of a batch, from whole files, lines, JSON objects, tables and OpenAI requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mistral_cli.batch.input.columns import Columns, scalar_fields
from mistral_cli.batch.input.files import InputFile, find_input_files
from mistral_cli.batch.input.openai import is_request, read_request
from mistral_cli.batch.options import InputFormat
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system.encodings import AUTO, Decoded, decode
from mistral_cli.texts.binaries import refuse_binary
from mistral_cli.texts.documents import is_document
from mistral_cli.texts.inputs import (
    STDIN,
    STDIN_TIMEOUTS,
    Text,
    display_name,
    read_bytes,
    text_from_bytes,
)
from mistral_cli.texts.stdin import NoInput, read_stdin
from mistral_cli.texts.tabular import ParsedRow, parse_jsonl, parse_table, split_lines

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


@dataclass(frozen=True)
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


class InputRows(NamedTuple):
    """The rows of a batch, and the folders that cannot be read, each with the reason."""

    rows: list[Row]
    unread: list[str]


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
    with one row becomes its `error`. Raises UsageError for a name that matches no file, a missing
    column, a repeated id, and if there are no rows at all.
    """
    columns = Columns(text_field or _TEXT, id_field, expected_field)
    rows: list[Row] = []
    files, unread = find_input_files(names, terminal, outputs)
    for file in files:
        before = len(rows)
        rows += _rows_of(
            file, input_format, columns, encoding, has_header, html_is_text, bool(names), terminal
        )
        if len(rows) == before:
            terminal.warn(f"{display_name(file.path)} has no rows")
    if not rows:
        raise UsageError("there are no rows", hint="Name files, globs, folders, or - (stdin).")
    _check_unique(rows)
    return InputRows(rows, unread)


def _rows_of(
    file: InputFile,
    input_format: InputFormat | None,
    columns: Columns,
    encoding: str,
    has_header: bool,
    html_is_text: bool,
    named: bool,
    terminal: Terminal,
) -> Iterable[Row]:
    name = display_name(file.path)
    try:
        data = _read(file.path, named, terminal)
        input_format = input_format or _default_format(file.path, data)
        if input_format is InputFormat.TEXT:
            text: Text | Decoded = text_from_bytes(data, name, encoding, html_is_text=html_is_text)
        else:
            refuse_binary(data, name)
            text = decode(data, name, encoding)
    except UsageError as error:
        if file.path == STDIN:
            raise
        return [_file_row(file, error=error)]
    for warning in text.warnings:
        terminal.warn(warning)
    if isinstance(text, Text):
        rows: Iterable[Row] = [_not_blank(_file_row(file, text))]
    else:
        rows = _parsed_rows(file, text.text, input_format, columns, has_header)
    return (replace(row, warnings=text.warnings + row.warnings) for row in rows)


def _parsed_rows(
    file: InputFile, text: str, input_format: InputFormat, columns: Columns, has_header: bool
) -> Iterable[Row]:
    name = display_name(file.path)
    if input_format is InputFormat.LINES:
        return _line_rows(text, name)
    if input_format is InputFormat.JSONL:
        return _object_rows(parse_jsonl(text, name), name, columns)
    delimiter = "\t" if file.path.suffix.lower() in {".tsv", ".tab"} else None
    header, objects = parse_table(text, name, delimiter, has_header=has_header)
    columns.check(header, name)
    return _object_rows(objects, name, columns)


def _read(path: Path, named: bool, terminal: Terminal) -> bytes:
    """Read a file or stdin. A stdin that was not named may be one that never ends: do not wait."""
    if path != STDIN:
        return read_bytes(path, terminal)
    hint = "Name files, globs or folders, or pipe the rows in."
    if not named and terminal.stdin_is_terminal:
        raise UsageError("there are no rows", hint=hint)
    try:
        data = read_stdin(terminal.stdin, None if named else STDIN_TIMEOUTS.alone)
    except OSError as error:
        raise UsageError(f"stdin cannot be read: {error.strerror}", hint=hint) from error
    if isinstance(data, NoInput):
        raise UsageError(f"stdin cannot be read: {data.value}", hint=hint)
    return data


def _default_format(path: Path, data: bytes) -> InputFormat:
    if path == STDIN:
        return InputFormat.TEXT if is_document("stdin", data) else InputFormat.LINES
    return FORMAT_OF_SUFFIX.get(path.suffix.lower(), InputFormat.TEXT)


def _file_row(file: InputFile, text: Text | None = None, error: UsageError | None = None) -> Row:
    name = display_name(file.path)
    row = Row(name, name, error=error)
    if text:
        row = replace(row, text=text.text, original=text.original)
    return row if file.path == STDIN else replace(row, path=file.path, relative=file.relative)


def _line_rows(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(split_lines(text), 1):
        if line.strip():
            where = f"{name}:{number}"
            yield _not_blank(Row(where, where, line.removesuffix("\r")))


def _object_rows(objects: Iterable[ParsedRow], name: str, columns: Columns) -> Iterator[Row]:
    for parsed in objects:
        where = f"{name}:{parsed.line}"
        if isinstance(parsed.value, UsageError):
            row = Row(where, where, error=parsed.value)
        elif is_request(parsed.value):
            row = _request_row(parsed.value, where)
        else:
            row = _fields_row(parsed.value, where, columns)
        yield replace(row, warnings=parsed.warnings)


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
    return _not_blank(replace(row, expected=columns.expected_of(values)))


def _not_blank(row: Row) -> Row:
    if row.text.replace("\0", "").strip():
        return row
    empty = UsageError(f"{row.source} is empty", hint="Add a text, or remove the row.")
    return replace(row, text="", error=empty)


def _check_unique(rows: Iterable[Row]) -> None:
    source_of: dict[str, str] = {}
    for row in rows:
        if row.id in source_of:
            raise UsageError(
                f"the id {row.id!r} occurs twice: in {source_of[row.id]} and {row.source}",
                hint="Use --id-field to name a field that is different in each row.",
            )
        source_of[row.id] = row.source
