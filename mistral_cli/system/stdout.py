"""Everything that goes to stdout, JSON included.

A pipe or a file gets every text as it is. A terminal gets control characters as escapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.system.controls import json_escaped, visible

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

SCHEMA_VERSION = 2
"""The version of every JSON object the program prints; it grows when a key changes or goes.

The objects are described by the JSON Schema files in docs/reference/schemas.
"""


def write_envelope(terminal: Terminal, content: Mapping[str, Any]) -> None:
    """Print one JSON object on one line, with the schema version."""
    envelope = {"schema_version": SCHEMA_VERSION, **content}
    write_json(terminal, envelope, on_one_line=True)


def write_json(terminal: Terminal, value: Any, *, on_one_line: bool = False) -> None:
    """Print one JSON value: indented on a terminal, unless it must be `on_one_line`."""
    indent = 2 if terminal.stdout_is_terminal and not on_one_line else None
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    write(terminal, json_escaped(text, for_terminal=terminal.stdout_is_terminal) + "\n")


def write_paths(terminal: Terminal, paths: Iterable[Path | str | None]) -> None:
    """Print each path once, one a line, for another program to read."""
    write(terminal, "".join(f"{path}\n" for path in dict.fromkeys(paths) if path))


def write(terminal: Terminal, text: str) -> None:
    """Print `text` and flush. Raises OutputFailed, or BrokenPipeError for a closed pipe."""
    write_styled(terminal, visible(text) if terminal.stdout_is_terminal else text)


def write_styled(terminal: Terminal, text: str) -> None:
    """Print `text`, whose only control characters are escape sequences of our own."""
    terminal.clear_status()  # it is on the line where the text begins
    terminal.stdout.write(text)
    terminal.stdout.flush()
