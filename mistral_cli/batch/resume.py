"""The lines of a results file as entries: which row each is about, and what is still to do."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Lines
    from mistral_cli.batch.input.rows import Row
    from mistral_cli.batch.prompts import Item

_BEGINNING = b'{"id": "'


class Entry(NamedTuple):
    """A line: the identity of its row and what that is called, and where it stands, in bytes."""

    key: str
    id: str
    source: str
    failed: bool
    start: int
    size: int


@dataclass
class Matched:
    """Which items are to be done, and which are done: well, or having failed."""

    todo: list[Item]
    done: list[Item]
    failed: list[Item]


def entries_of(file: Iterable[bytes], lines: Lines, name: str) -> tuple[list[Entry], int]:
    """The entries in a file, and where the last line begins if a crash tore it, else its end.

    Raises UsageError where the file holds something else; then nothing may be cut off.
    """
    entries, end, number = list[Entry](), 0, 0
    raws = iter(file)
    for number, raw in enumerate(raws, start=1):
        line = parsed(raw)
        if line is None or not lines.key(line) or not raw.endswith(b"\n"):
            if next(raws, None) is None and _is_torn(raw, lines, alone=number == 1):
                break
            raise UsageError(
                f"line {number} of {name} is no result of a batch in this format",
                hint="Name another file with -o.",
            )
        entries.append(entry_of(line, lines, end, len(raw)))
        end += len(raw)
    return entries, end


def assign(
    entries: Sequence[Entry], items: Sequence[Item], *, ids_are_kept: bool
) -> list[Entry | None]:
    """For each item the entry that is its result.

    Rows of the same content have a result each: first each takes its own, the newest under its
    id; what is left goes to those that have none, for their ids may have changed.
    """
    left = {(entry.key, entry.id): entry for entry in entries}
    found = [left.pop((item.key, item.row.id), None) for item in items]
    if ids_are_kept:
        return found
    spare = defaultdict[str, list[Entry]](list)
    for entry in sorted(left.values(), key=lambda entry: not entry.failed):
        spare[entry.key].append(entry)
    return [
        entry or (spare[item.key].pop() if spare.get(item.key) else None)
        for item, entry in zip(items, found, strict=True)
    ]


def match(
    items: Sequence[Item], assigned: Sequence[Entry | None], *, retry_failed: bool, force: bool
) -> Matched:
    """Tell what is to be done from what is done, given each item's entry."""
    matched = Matched([], [], [])
    for item, entry in zip(items, assigned, strict=True):
        if entry is None or force or (entry.failed and retry_failed):
            matched.todo.append(item)
        elif entry.failed:
            matched.failed.append(item)
        else:
            matched.done.append(item)
    return matched


def tidied(
    entries: Sequence[Entry],
    items: Sequence[Item],
    assigned: Sequence[Entry | None],
    *,
    ordered: bool,
) -> list[tuple[Entry, Row | None]]:
    """The entries that are to stay, each with its row where that is called otherwise now.

    Of several about one row it is the last. One about other content of a row stays until
    that has been answered, and one about a row that is not among the items for good.
    """
    rows = {entry.start: item.row for item, entry in zip(items, assigned, strict=True) if entry}
    answered = {row.id for row in rows.values()}
    keys = {item.key for item in items}
    newest = {(entry.key, entry.id): entry for entry in entries}

    def stays(entry: Entry) -> bool:
        # A failure of the same content under another id is one that was tried again.
        outdated = entry.id in answered or (entry.failed and entry.key in keys)
        return entry.start in rows or (not outdated and newest[entry.key, entry.id] is entry)

    kept = [entry for entry in entries if stays(entry)]
    if ordered:
        places = {item.row.id: place for place, item in enumerate(items)}
        kept.sort(key=lambda e: places[rows[e.start].id] if e.start in rows else len(places))
    return [(entry, _new_name(entry, rows.get(entry.start))) for entry in kept]


def _new_name(entry: Entry, row: Row | None) -> Row | None:
    if row is None or (entry.id, entry.source or row.source) == (row.id, row.source):
        return None
    return row


def entry_of(line: Mapping[str, Any], lines: Lines, start: int, size: int) -> Entry:
    """The entry for a line of ours."""
    failed = line["error"] is not None
    return Entry(lines.key(line), lines.id(line), lines.source(line), failed, start, size)


def parsed(raw: bytes) -> dict[str, Any] | None:
    """The object that a line is, if it is one."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _is_torn(raw: bytes, lines: Lines, *, alone: bool) -> bool:
    """Whether a last line that is no entry may be one that a crash cut short, or made zeros.

    Where there are no others, it must begin like one of ours.
    """
    line = parsed(raw)
    if line is not None:
        return bool(lines.key(line))  # all there but the newline
    beginning = raw.strip(b"\0")[: len(_BEGINNING)]
    return not alone or _BEGINNING.startswith(beginning)
