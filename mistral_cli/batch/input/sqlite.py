"""The rows that a query finds in an SQLite database."""

from __future__ import annotations

import marshal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from mistral_cli.batch.input.columns import TypedTable, as_cell, check_names
from mistral_cli.errors import UsageError
from mistral_cli.system.files import temporary_file_errors
from mistral_cli.texts.inputs import STDIN, display_name
from mistral_cli.texts.tabular import ParsedRow

if TYPE_CHECKING:
    from collections.abc import Sequence

_HINT = "Write one SELECT; see https://sqlite.org/lang_select.html."
_ROWS = 1000  # that are copied at once
_READS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
# What json_each and full-text search (FTS5) ask for when they are opened; nothing is written.
_TABLE_OPENINGS = {
    (sqlite3.SQLITE_UPDATE, "sqlite_master"),
    (sqlite3.SQLITE_PRAGMA, "data_version"),
}


def open_query(path: Path, query: str) -> TypedTable:
    """Run a query that only reads; return its columns and rows. Raises UsageError.

    The rows are copied to a temporary file first, in one transaction: a batch may take hours, and
    as long as a query is open, other programs cannot write to the database, or not shorten its
    log.
    """
    name = display_name(path)
    if path == STDIN:
        raise UsageError("--from-sql cannot read stdin", hint="Name the file of the database.")
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the rows end
    try:
        with closing(_open(path, name)) as database:
            cursor = database.execute(query)
            header = [str(column[0]) for column in cursor.description or ()]
            check_names(header, "--from-sql", "Name the columns with AS.")
            count = _copy(cursor, copy)
    except (sqlite3.Error, sqlite3.Warning) as error:
        copy.close()
        is_locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
        hint = "Try again when no other program writes to it." if is_locked else _HINT
        raise UsageError(f"--from-sql on {name}: {error}", hint=hint) from error
    except BaseException:
        with suppress(OSError):  # of a full disk
            copy.close()
        raise
    place = [0]
    return TypedTable(
        header, _rows(copy, header, place), lambda: place[0] / count if count else None
    )


def _open(path: Path, name: str) -> sqlite3.Connection:
    if not path.is_file():
        raise UsageError(f"{name} is not a file", hint="Name the file of the database.")
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    database = sqlite3.connect(address, uri=True)
    # Of a query in a script, more than the access mode must be safe: ATTACH would open other files.
    database.set_authorizer(_authorize)
    return database


def _authorize(action: int, target: str | None, *_: str | None) -> int:
    """Allow what reads; see sqlite3_set_authorizer."""
    if action in _READS or (action, target) in _TABLE_OPENINGS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _copy(cursor: sqlite3.Cursor, copy: IO[bytes]) -> int:
    count = 0
    while rows := cursor.fetchmany(_ROWS):
        with temporary_file_errors():
            marshal.dump(rows, copy)
        count += len(rows)
    with temporary_file_errors():
        copy.seek(0)
    return count


def _rows(copy: IO[bytes], header: Sequence[str], place: list[int]) -> Iterator[ParsedRow]:
    with copy:
        while True:
            try:
                rows: list[tuple[Any, ...]] = marshal.load(copy)
            except EOFError:
                return
            for cells in rows:
                place[0] += 1
                values = dict(zip(header, map(as_cell, cells), strict=True))
                yield ParsedRow(place[0], values)
