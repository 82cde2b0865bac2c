"""Names on the command line → input files; globs and folders are expanded as a shell would."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.errors import UsageError, reason
from mistral_cli.system.files import is_same_file
from mistral_cli.texts.inputs import STDIN, display_name

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_ANY_DEPTH = "**"
_WHOLE_FOLDER = (_ANY_DEPTH, "*")
_ListFolder = Callable[[Path], list[os.DirEntry[str]]]
_Skip = Callable[[str], None]  # takes the name of a folder and why it cannot be read


@dataclass(frozen=True)
class InputFile:
    """A file to read, or stdin (`path` is "-").

    `relative` is the path below the folder, or below the fixed part of the glob, that led to
    the file; for a file that `is_named` itself it is the file's name.
    """

    path: Path
    relative: Path
    is_named: bool = False


class InputFiles(NamedTuple):
    """The files to read, and the folders that cannot be read, each with the reason."""

    files: list[InputFile]
    unread: list[str]


def find_input_files(
    names: Sequence[str], reporter: Reporter, outputs: Sequence[Path] = ()
) -> InputFiles:
    """Return the files that `names` stand for, each once; without names, stdin.

    If a file's own name looks like a glob, the name stands for that file. Files that the batch
    itself wrote are left out: `outputs`, and what is in a folder among them that lies below the
    folder being read. Raises UsageError for a name that matches no file, and if all files are
    left out.
    """
    files: dict[Path, InputFile] = {}
    left_out, unread = list[str](), list[str]()

    def skip(folder: str) -> None:
        unread.append(folder)
        reporter.warn(f"skipping {folder}")

    for name in names or ("-",):
        try:
            matches = _matching(name, skip)
        except (OSError, ValueError) as error:  # name too long, folder not readable, NUL
            raise UsageError(
                f"{name!r} cannot be read: {reason(error)}", hint="Check the name."
            ) from error
        for file in matches:
            if any(_is_output(file, output) for output in outputs):
                left_out.append(display_name(file.path))
            else:
                files.setdefault(_identity(file.path), file)
    if left_out and not files:
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        raise UsageError(
            f"the batch would read only what it writes: {left_out[0]}{more}",
            hint="Name other inputs, or write the results to another file or folder.",
        )
    return InputFiles(list(files.values()), unread)


def _matching(name: str, skip: _Skip) -> list[InputFile]:
    if not name:  # an unset variable in a script, which would mean the whole folder
        raise UsageError("an input has an empty name", hint="Use . for the current folder.")
    path = Path(name)
    if path == STDIN:
        return [InputFile(STDIN, STDIN, is_named=True)]
    if path.is_dir():
        return _expand(name, path, _WHOLE_FOLDER, skip)
    if path.exists():
        return [InputFile(path, Path(path.name), is_named=True)]
    fixed = list(takewhile(lambda part: not _is_pattern(part), path.parts))
    if len(fixed) == len(path.parts):
        raise UsageError(f"{display_name(path)} does not exist", hint="Check the name.")
    return _expand(name, Path(*fixed), path.parts[len(fixed) :], skip)


def _expand(name: str, folder: Path, pattern: tuple[str, ...], skip: _Skip) -> list[InputFile]:
    # Cached, because "**" lists a folder twice, and would warn twice.
    list_folder = cache(partial(_list_folder, skip))
    files = sorted({os.fspath(path) for path in _matches(folder, pattern, list_folder)})
    if not files and pattern is _WHOLE_FOLDER:
        raise UsageError(
            f"the folder {display_name(folder)} has no files",
            hint="Hidden files do not count; name them if you mean them.",
        )
    if not files:
        raise UsageError(
            f"{display_name(Path(name))} matches no file",
            hint="Check the name. Hidden files do not match, and only ** searches subfolders.",
        )
    return [InputFile(Path(file), Path(file).relative_to(folder)) for file in files]


def _matches(folder: Path, pattern: Sequence[str], list_folder: _ListFolder) -> Iterator[Path]:
    """Yield the files below `folder`; links to folders are followed only if a name leads there."""
    first, *rest = pattern
    if first == _ANY_DEPTH:
        yield from _matches(folder, rest or ["*"], list_folder)
        for entry in list_folder(folder):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _matches(folder / entry.name, pattern, list_folder)
    elif not _is_pattern(first):
        yield from _descend(folder / first, rest, list_folder)
    else:
        for entry in list_folder(folder):
            hidden = entry.name.startswith(".") and not first.startswith(".")
            if not hidden and fnmatchcase(entry.name, first):
                yield from _descend(folder / entry.name, rest, list_folder)


def _descend(path: Path, rest: Sequence[str], list_folder: _ListFolder) -> Iterator[Path]:
    if not rest:
        if path.is_file():
            yield path
    elif path.is_dir():
        yield from _matches(path, rest, list_folder)


def _list_folder(skip: _Skip, folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        skip(f"{display_name(folder)}: {error.strerror}")
        return []


def _is_output(file: InputFile, output: Path) -> bool:
    if is_same_file(file.path, output):  # also through a hard link
        return True
    path, written = Path(os.path.realpath(file.path)), Path(os.path.realpath(output))
    if written not in (path, *path.parents):
        return False
    above = path.parents[len(file.relative.parts) - 1]
    return above in written.parents


def _is_pattern(part: str) -> bool:
    return any(sign in part for sign in "*?[")


def _identity(path: Path) -> Path:
    """Return the same path for all spellings of it; a link to a file is a file of its own."""
    return path.parent.resolve() / path.name
