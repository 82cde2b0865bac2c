"""Names on the command line → files: globs and folders expanded as a shell would."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.texts.inputs import STDIN, display_name

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_ANY_DEPTH = "**"
_WHOLE_FOLDER = (_ANY_DEPTH, "*")
_Entries = Callable[[Path], list[os.DirEntry[str]]]


@dataclass(frozen=True)
class Source:
    """A file to read, or stdin (`path` is "-").

    `relative` is its path below the folder or the glob's fixed part; its name if it was named
    itself.
    """

    path: Path
    relative: Path


def find_sources(
    names: Sequence[str], reporter: Reporter, outputs: Sequence[Path] = ()
) -> list[Source]:
    """Every file behind `names`, each once; nothing at all is stdin.

    A file whose own name looks like a glob is that file. What is written to `outputs` (files,
    and folders below the one that is read) is no input of the next run. Raises UsageError for a
    name behind which there is no file.
    """
    found: dict[Path, Source] = {}
    for name in names or ("-",):
        try:
            sources = _sources(name, reporter)
        except (OSError, ValueError) as error:  # too long, a folder in the way is closed, NUL
            raise UsageError(f"{name!r} cannot be read: {error}", hint="Check the name.") from error
        for source in sources:
            if any(_is_output(source, output) for output in outputs):
                continue
            found.setdefault(_identity(source.path), source)
    return list(found.values())


def _sources(name: str, reporter: Reporter) -> list[Source]:
    if not name:  # a variable of a script that is not set would be the whole folder
        raise UsageError("an input has an empty name", hint="Use . for the current folder.")
    path = Path(name)
    if path == STDIN:
        return [Source(STDIN, STDIN)]
    if path.is_dir():
        return _expand(name, path, _WHOLE_FOLDER, reporter)
    if path.exists():
        return [Source(path, Path(path.name))]
    fixed = list(takewhile(lambda part: not _is_pattern(part), path.parts))
    if len(fixed) == len(path.parts):
        raise UsageError(f"{display_name(path)} does not exist", hint="Check the name.")
    return _expand(name, Path(*fixed), path.parts[len(fixed) :], reporter)


def _expand(name: str, folder: Path, pattern: tuple[str, ...], reporter: Reporter) -> list[Source]:
    entries = cache(partial(_entries, reporter))  # "**" comes by twice, and would warn twice
    files = sorted({os.fspath(path) for path in _matches(folder, pattern, entries)})
    if not files:
        raise UsageError(
            f"{display_name(Path(name))} matches no file",
            hint="Check the name; hidden files are left out, and only ** goes into folders.",
        )
    return [Source(Path(file), Path(file).relative_to(folder)) for file in files]


def _matches(folder: Path, pattern: Sequence[str], entries: _Entries) -> Iterator[Path]:
    """The files below `folder`; links to folders are followed only where they are named."""
    first, *rest = pattern
    if first == _ANY_DEPTH:
        yield from _matches(folder, rest or ["*"], entries)
        for entry in entries(folder):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _matches(folder / entry.name, pattern, entries)
    elif not _is_pattern(first):
        yield from _into(folder / first, rest, entries)
    else:
        for entry in entries(folder):
            hidden = entry.name.startswith(".") and not first.startswith(".")
            if not hidden and fnmatchcase(entry.name, first):
                yield from _into(folder / entry.name, rest, entries)


def _into(path: Path, rest: Sequence[str], entries: _Entries) -> Iterator[Path]:
    if not rest:
        if path.is_file():
            yield path
    elif path.is_dir():
        yield from _matches(path, rest, entries)


def _entries(reporter: Reporter, folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        reporter.warn(f"{display_name(folder)} is left out: {error.strerror}")
        return []


def _is_output(source: Source, output: Path) -> bool:
    path, written = Path(os.path.realpath(source.path)), Path(os.path.realpath(output))
    if written not in (path, *path.parents):
        return False
    above = path.parents[len(source.relative.parts) - 1]
    return path == written or above in written.parents


def _is_pattern(part: str) -> bool:
    return any(sign in part for sign in "*?[")


def _identity(path: Path) -> Path:
    """The same for every way to write a path; a link to a file is a file of its own."""
    return path.parent.resolve() / path.name
