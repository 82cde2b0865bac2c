"""The rows of a batch: files, tables, OpenAI requests and lines → things to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral_cli.batch.openai_requests import is_request, read_request
from mistral_cli.batch.records import Record, json_records, table_records
from mistral_cli.batch.sources import Source, find_sources
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.inputs.documents import is_document
from mistral_cli.inputs.stdin import NoText, read_stdin
from mistral_cli.inputs.texts import GRACES, STDIN, decode, read_bytes, to_text
from mistral_cli.instruct.messages import Message
from mistral_cli.terminal import Terminal

INPUT_FORMATS = ("text", "lines", "jsonl", "csv")
"""What `input_format` may be: the whole file, each line, JSON objects, a table."""

_BY_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
_TEXT, _ID = "text", "id"


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


@dataclass(frozen=True)
class _Columns:
    """Where text and id stand; `chosen` are those that the user named."""

    text: str
    id: str
    chosen: tuple[str, ...]


def read_rows(
    names: Sequence[str],
    terminal: Terminal,
    *,
    input_format: str | None = None,
    text_field: str | None = None,
    id_field: str | None = None,
) -> list[Row]:
    """The rows behind files, globs, folders and stdin ("-", or no name at all), in order.

    The suffix says the format unless `input_format` does. What is wrong with one row is its
    `error`. Raises UsageError for a name without files, a column that is not there, an id
    that is there twice, and no rows at all.
    """
    if input_format not in (None, *INPUT_FORMATS):
        known = ", ".join(INPUT_FORMATS)
        raise UsageError(f"unknown input format {input_format!r}", hint=f"Use one of: {known}.")
    chosen = tuple(name for name in (text_field, id_field) if name is not None)
    columns = _Columns(text_field or _TEXT, id_field or _ID, chosen)
    rows: list[Row] = []
    for source in find_sources(names, terminal):
        before = len(rows)
        rows += _rows_of(source, input_format, columns, bool(names), terminal)
        if len(rows) == before:
            terminal.warn(f"{source.name} holds no rows")
    if not rows:
        raise UsageError("there is nothing to do", hint="Name files, globs, folders, or - (stdin).")
    _refuse_doubles(rows)
    return rows


def _rows_of(
    source: Source, chosen_format: str | None, columns: _Columns, named: bool, terminal: Terminal
) -> Iterable[Row]:
    try:
        data = _read(source, named, terminal)
        kind = chosen_format or _format(source, data)
        if kind == "text":
            return [_whole_file(source, data, terminal)]
        text = decode(data, source.name, terminal)
    except UsageError as error:
        if source.path == STDIN:
            raise
        return [_failed_file(source, error)]
    if kind == "lines":
        return _lines(text, source.name)
    if kind == "jsonl":
        return _from_records(json_records(text, source.name), source.name, columns)
    delimiter = "\t" if source.path.suffix.lower() == ".tsv" else None
    return _from_table(table_records(text, source.name, delimiter), source.name, columns)
