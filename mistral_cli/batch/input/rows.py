"""The rows of a batch: files, tables, OpenAI requests and lines → things to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.input.columns import Columns, scalars
from mistral_cli.batch.input.openai import is_request, read_request
from mistral_cli.batch.input.sources import Source, find_sources
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.texts.documents import is_document
from mistral_cli.texts.inputs import (
    STDIN,
    STDIN_TIMEOUTS,
    decode,
    display_name,
    read_bytes,
    text_from_bytes,
)
from mistral_cli.texts.stdin import NoInput, read_stdin
from mistral_cli.texts.tabular import ParsedRow, parse_jsonl, parse_table

if TYPE_CHECKING:
    from mistral_cli.models.chat import Message
    from mistral_cli.system.terminal import Terminal

INPUT_FORMATS = ("text", "lines", "jsonl", "csv")
"""What `input_format` may be: the whole file, each line, JSON objects, a table."""

_BY_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
_TEXT = "text"


@dataclass(frozen=True)
class Row:
    """One thing to do in a batch, or the `error` that keeps it from being done.

    `source` is a file, or a file (or "stdin") and a line. `fields` are the columns as texts, for
    {name} in a prompt; all but one called "text", since {text} is this row's text. An OpenAI
    request has a `conversation` and `overrides` (our options' names) instead of a text.
    `path` and `relative` are there where the row is a whole file: the file, and its path
    below the folder or the glob's fixed part.
    """

    id: str
    source: str
    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    conversation: tuple[Message, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    relative: Path | None = None
    error: MistralCliError | None = None


def read_rows(
    names: Sequence[str],
    terminal: Terminal,
    *,
    outputs: Sequence[Path] = (),
    input_format: str | None = None,
    text_field: str | None = None,
    id_field: str | None = None,
) -> list[Row]:
    """The rows behind files, globs, folders and stdin ("-", or no name at all), in order.

    The suffix says the format unless `input_format` does; `outputs` are those of
    `find_sources`. What is wrong with one row is its `error`. Raises UsageError for a name
    without files, a column that is not there, an id that is there twice, and no rows at all.
    """
    if input_format not in (None, *INPUT_FORMATS):
        known = ", ".join(INPUT_FORMATS)
        raise UsageError(f"unknown input format {input_format!r}", hint=f"Use one of: {known}.")
    columns = Columns(text_field or _TEXT, id_field)
    rows: list[Row] = []
    for source in find_sources(names, terminal, outputs):
        before = len(rows)
        rows += _rows_of(source, input_format, columns, bool(names), terminal)
        if len(rows) == before:
            terminal.warn(f"{display_name(source.path)} holds no rows")
    if not rows:
        raise UsageError("there is nothing to do", hint="Name files, globs, folders, or - (stdin).")
    _refuse_doubles(rows)
    return rows


def _rows_of(
    source: Source, chosen_format: str | None, columns: Columns, named: bool, terminal: Terminal
) -> Iterable[Row]:
    name = display_name(source.path)
    try:
        data = _read(source.path, named, terminal)
        kind = chosen_format or _format(source.path, data)
        if kind == "text":
            return [_not_blank(_row_of_file(source, text_from_bytes(data, name, terminal).text))]
        text = decode(data, name, terminal)
    except UsageError as error:
        if source.path == STDIN:
            raise
        return [_row_of_file(source, error=error)]
    if kind == "lines":
        return _from_lines(text, name)
    if kind == "jsonl":
        return _from_records(parse_jsonl(text, name), name, columns)
    delimiter = "\t" if source.path.suffix.lower() == ".tsv" else None
    header, records = parse_table(text, name, delimiter)
    columns.check(header, name)
    return _from_records(records, name, columns)


def _read(path: Path, named: bool, terminal: Terminal) -> bytes:
    """A file, or stdin; a stdin that nobody named must not keep us waiting for nothing."""
    if path != STDIN:
        return read_bytes(path, terminal)
    hint = "Name files, globs or folders, or pipe the rows in."
    if not named and terminal.stdin_is_terminal:
        raise UsageError("there is nothing to do", hint=hint)
    try:
        data = read_stdin(terminal.stdin, None if named else STDIN_TIMEOUTS.alone)
    except OSError as error:
        raise UsageError(f"stdin cannot be read: {error.strerror}", hint=hint) from error
    if isinstance(data, NoInput):
        raise UsageError(f"stdin cannot be read: {data.value}", hint=hint)
    return data


def _format(path: Path, data: bytes) -> str:
    if path == STDIN:
        return "text" if is_document("stdin", data) else "lines"
    return _BY_SUFFIX.get(path.suffix.lower(), "text")


def _row_of_file(source: Source, text: str = "", error: MistralCliError | None = None) -> Row:
    name = display_name(source.path)
    if source.path == STDIN:
        return Row(name, name, text, error=error)
    return Row(name, name, text, path=source.path, relative=source.relative, error=error)


def _from_lines(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{name}:{number}"
            yield _not_blank(Row(where, where, line.removesuffix("\r")))


def _from_records(records: Iterable[ParsedRow], name: str, columns: Columns) -> Iterator[Row]:
    for record in records:
        where = f"{name}:{record.line}"
        if isinstance(record.value, UsageError):
            yield Row(where, where, error=record.value)
        elif is_request(record.value):
            yield _from_request(record.value, where)
        else:
            yield _from_fields(record.value, where, columns)


def _from_request(value: Mapping[str, Any], where: str) -> Row:
    given = value["custom_id"]
    identity = given if isinstance(given, str) and given else where
    try:
        conversation, overrides = read_request(value)
    except UsageError as error:
        wrong = UsageError(f"{where}: {error.message}", hint=error.hint)
        return Row(identity, where, error=wrong)
    return Row(identity, where, conversation=conversation, overrides=overrides)


def _from_fields(value: Mapping[str, Any], where: str, columns: Columns) -> Row:
    fields = scalars(value)
    fields.pop(_TEXT, None)
    identity = where
    try:
        identity = columns.id_of(value, where)
        text = columns.text_of(value, where)
    except UsageError as error:
        return Row(identity, where, fields=fields, error=error)
    return _not_blank(Row(identity, where, text, fields))


def _not_blank(row: Row) -> Row:
    if row.text.replace("\0", "").strip():
        return row
    empty = UsageError(f"{row.source} is empty", hint="Give it a text, or leave it out.")
    return replace(row, text="", error=empty)


def _refuse_doubles(rows: Iterable[Row]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        if row.id in seen:
            raise UsageError(
                f"the id {row.id!r} is there twice: {seen[row.id]} and {row.source}",
                hint="Name a field that differs in every row with --id-field.",
            )
        seen[row.id] = row.source
