"""The only place that writes to stdout, and sees when it takes no more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mistral_cli.errors import MistralCliError
from mistral_cli.system.terminal import Terminal, drop_the_rest

# What UTF-8 cannot carry: the bytes of a path that is not UTF-8, as Python holds them.
_NO_TEXT = "[\ud800-\udfff]"

SCHEMA_VERSION = 2
"""Of every JSON object that the program prints; raised when a key changes its meaning."""


def write_envelope(terminal: Terminal, content: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, with the version of its keys."""
    envelope = {"schema_version": SCHEMA_VERSION, **content}
    write(terminal, _escaped(json.dumps(envelope, ensure_ascii=False), _NO_TEXT) + "\n")


def write_json(terminal: Terminal, value: Any, *, on_one_line: bool = False) -> None:
    """One JSON value on stdout: indented for a person, unless it is `on_one_line`."""
    indent = 2 if terminal.stdout_is_terminal and not on_one_line else None
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if terminal.stdout_is_terminal:  # JSON itself escapes only the controls below U+0020
        text = _escaped(text, "[\x7f-\x9f]")
    write(terminal, _escaped(text, _NO_TEXT) + "\n")


def write_paths(terminal: Terminal, paths: Iterable[Path | str | None]) -> None:
    """Each path on a line of its own, once, for another program to read."""
    write(terminal, "".join(f"{path}\n" for path in dict.fromkeys(paths) if path))


def write(terminal: Terminal, text: str) -> None:
    """Write `text` to stdout now. Raises OutputFailed, or BrokenPipeError for a closed pipe."""
    with _translated(terminal):
        terminal.stdout.write(text)
        terminal.stdout.flush()


def _escaped(text: str, characters: str) -> str:
    return re.sub(characters, lambda found: f"\\u{ord(found[0]):04x}", text)


class OutputFailed(MistralCliError):
    """Stdout took no more: a full disk, a lost mount."""


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
            f"cannot write the answer: {error.strerror}", hint="Free the disk behind stdout."
        ) from error
