"""Tables (tab-separated in a pipe) and lists of facts, or the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mistral_cli.system.controls import as_cell
from mistral_cli.system.stdout import write, write_envelope, write_styled

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

Row = Mapping[str, Any]

_GAP = 2  # columns between columns, as rich pads them


def print_table(
    terminal: Terminal,
    name: str,
    rows: Sequence[Row],
    titles: Mapping[str, str],
    *,
    as_json: bool,
    show: Mapping[str, Callable[[Any], str]] | None = None,
    shrink: str = "",
) -> None:
    """Print the columns of `rows` that `titles` names; as JSON, all values, under the key `name`.

    `show` formats a column's values for people; a missing value is shown as a dash. A narrow
    terminal cuts the column `shrink` and folds all others, since people copy from them.
    """
    if as_json:
        write_envelope(terminal, {name: list(rows)})
        return
    formats = show or {}
    cells = [[_cell(row[key], formats.get(key, str)) for key in titles] for row in rows]
    if not terminal.stdout_is_terminal:
        write(terminal, "".join("\t".join(line) + "\n" for line in cells))
        return
    _print_rich(terminal, titles, cells, shrink)


def print_facts(
    terminal: Terminal,
    facts: Row,
    *,
    as_json: bool,
    show: Mapping[str, Callable[[Any], str]] | None = None,
) -> None:
    """Print names and values, one a line; `show` formats a name's value for people."""
    if as_json:
        write_envelope(terminal, facts)
        return
    flat = dict(_flatten(facts, show or {}))
    width = max(map(len, flat)) + 2
    lines = (f"{as_cell(name):<{width}}{_cell(value, str)}\n" for name, value in flat.items())
    write(terminal, "".join(lines))


def _flatten(facts: Row, show: Mapping[str, Callable[[Any], str]]) -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            yield from ((f"{name}: {inner}", each) for inner, each in _flatten(value, show))
        elif key in show and value is not None:
            yield name, show[key](value)
        else:
            yield name, f"{value:,}" if isinstance(value, int) else value


def _cell(value: Any, show: Callable[[Any], str]) -> str:
    return "-" if value is None else as_cell(show(value))


def _print_rich(
    terminal: Terminal, titles: Mapping[str, str], cells: Sequence[Sequence[str]], shrink: str
) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=terminal.stdout)
    table = Table(box=None, pad_edge=False)
    columns = zip(titles.values(), *cells, strict=True)
    widths = dict(zip(titles, (max(map(cell_len, column)) for column in columns), strict=True))
    room = console.width - sum(width + _GAP for key, width in widths.items() if key != shrink)
    for key, title in titles.items():
        if key == shrink:
            widest = max(room, len(title))
            table.add_column(title, no_wrap=True, max_width=widest, overflow="ellipsis")
        else:
            table.add_column(title, overflow="fold")
    for line in cells:
        table.add_row(*map(Text, line))  # Text, since rich would take [red] in a string for markup
    with console.capture() as capture:
        console.print(table)
    write_styled(terminal, capture.get())
