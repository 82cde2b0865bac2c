"""Everything that goes to stdout, JSON included, and what happens if it cannot be written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mistral_cli.errors import MistralCliError
from mistral_cli.system.terminal import Terminal, drop_the_rest

# The bytes of a path that is not UTF-8, as Python represents them; UTF-8 cannot encode these.
_SURROGATES = "[\ud800-\udfff]"

SCHEMA_VERSION = 2
"""The version of every JSON object the program prints; it grows when a key changes or goes.

The objects are described by the JSON Schema files in docs/reference/schemas.
"""


def write_envelope(terminal: Terminal, content: Mapping[str, Any]) -> None:
    """Print one JSON object on one line, with the schema version."""
    envelope = {"schema_version": SCHEMA_VERSION, **content}
    write(terminal, _escaped(json.dumps(envelope, ensure_ascii=False), _SURROGATES) + "\n")


def write_json(terminal: Terminal, value: Any, *, on_one_line: bool = False) -> None:
    """Print one JSON value: indented on a terminal, unless it must be `on_one_line`."""
    indent = 2 if terminal.stdout_is_terminal and not on_one_line else None
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if terminal.stdout_is_terminal:  # JSON requires escapes only below U+0020
        text = _escaped(text, "[\x7f-\x9f]")
    write(terminal, _escaped(text, _SURROGATES) + "\n")


def write_paths(terminal: Terminal, paths: Iterable[Path | str | None]) -> None:
    """Print each path once, one a line, for another program to read."""
    write(terminal, "".join(f"{path}\n" for path in dict.fromkeys(paths) if path))


def write(terminal: Terminal, text: str) -> None:
    """Print `text` and flush. Raises OutputFailed, or BrokenPipeError for a closed pipe."""
    with _translated(terminal):
        terminal.stdout.write(text)
        terminal.stdout.flush()


def _escaped(text: str, characters: str) -> str:
    return re.sub(characters, lambda found: f"\\u{ord(found[0]):04x}", text)


class OutputFailed(MistralCliError):
    """Writing to stdout failed: a full disk, a lost mount."""


@contextmanager
def _translated(terminal: Terminal) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        drop_the_rest(terminal.stdout)
        raise
    except OSError as error:
        drop_the_rest(terminal.stdout)
        raise OutputFailed(
            f"cannot write the answer: {error.strerror}",
            hint="Free space on the disk that stdout is redirected to.",
        ) from error
