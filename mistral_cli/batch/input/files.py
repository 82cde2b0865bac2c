"""Names on the command line → input files; globs and folders are expanded as a shell would.

Folders are listed when their turn comes: only the names in one folder, and in those above it, are
in memory.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain, takewhile
from pathlib import Path
from typing import NamedTuple

from mistral_cli.errors import UsageError, reason
from mistral_cli.texts.inputs import STDIN, display_name

_ANY_DEPTH = "**"
_WHOLE_FOLDER = (_ANY_DEPTH, "*")


class InputPart(NamedTuple):
    """A part of all inputs, from 0 to 1: by bytes if all are named files, else by names."""

    start: float
    end: float

    def part(self, number: int, count: int) -> InputPart:
        """Return one of `count` equal parts."""
        width = (self.end - self.start) / count
        return InputPart(self.start + number * width, self.start + (number + 1) * width)

    def at(self, fraction: float) -> float:
        """Return the place in all inputs that is at `fraction` of this part."""
        return self.start + min(fraction, 1.0) * (self.end - self.start)


_ALL = InputPart(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, or stdin (`path` is "-").

    `relative` is the path below the folder, or below the fixed part of the glob, that led to
    the file; for a file that `is_named` itself it is the file's name.
    """

    path: Path
    relative: Path
    is_named: bool = False
    span: InputPart = _ALL


class InputFiles:
    """The files that names stand for, each once, found as they are asked for.

    A file that two names lead to is read at its first mention. To know it again, a digest of each
    path is kept if one name lies within another, or if a glob can reach a folder in two ways: 0.1
    GB for a million files. Else nothing is kept.
    """

    def __init__(self, names: Sequence[_Name], outputs: Sequence[Path], unread: list[str]) -> None:
        self.unread = unread
        """The folders that cannot be read, each with the reason; complete after the last file."""
        self._names = names
        self._outputs = [_Output(output) for output in outputs]
        self._known: set[bytes] | None = set() if _may_repeat(names) else None

    @property
    def named(self) -> list[InputFile]:
        """The files that are named themselves."""
        return [name.file for name in self._names if name.file]

    def __iter__(self) -> Iterator[InputFile]:
        """Yield the files. Raises UsageError if all are left out."""
        left_out, any_file = list[str](), False
        for file in chain.from_iterable(self._names):
            if file.path != STDIN and any(output.is_at(file) for output in self._outputs):
                left_out.append(display_name(file.path))
            elif self._is_new(file):
                any_file = True
                yield file
        if left_out and not any_file:
            more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            raise UsageError(
                f"the batch would read only what it writes: {left_out[0]}{more}",
                hint="Name other inputs, or write the results to another file or folder.",
            )

    def _is_new(self, file: InputFile) -> bool:
        if self._known is None:
            return True
        digest = hashlib.blake2b(os.fsencode(_identity(file.path)), digest_size=16).digest()
        if digest in self._known:
            return False
        self._known.add(digest)
        return True


def find_input_files(names: Sequence[str], outputs: Sequence[Path] = ()) -> InputFiles:
    """Return the files that `names` stand for; without names, stdin.

    If a file's own name looks like a glob, the name stands for that file. Files that the batch
    itself wrote are left out: `outputs`, and what is in a folder among them that lies below the
    folder being read. Raises UsageError for a name that matches no file.
    """
    unread = list[str]()
    found = [_find(name, unread) for name in names or ("-",)]
    for name, span in zip(found, _spans(found), strict=True):
        name.span = span
    for name, text in zip(found, names or ("-",), strict=True):
        try:
            name.look(text)
        except (OSError, ValueError) as error:  # name too long, NUL
            raise _unusable(text, error) from error
    return InputFiles(found, outputs, unread)


class _Name:
    """What a name stands for: a file, or the files below a folder that match a pattern."""

    def __init__(self, base: Path, pattern: tuple[str, ...], unread: list[str]) -> None:
        self.base, self.pattern, self.span = base, pattern, _ALL
        self.file = None if pattern else InputFile(base, Path(base.name), is_named=True)
        self._unread = unread
        self._matches: Iterator[_Match] = iter(())

    def look(self, name: str) -> None:
        """Find the first file. Raises UsageError if there is none."""
        if not self.pattern:
            return
        matches = _distinct(_Walk(self._unread).matches(str(self.base), self.pattern, self.span))
        first = next(matches, None)
        if first is None and self.pattern is _WHOLE_FOLDER:
            raise UsageError(
                f"the folder {display_name(self.base)} has no files",
                hint="Hidden files do not count; name them if you mean them.",
            )
        if first is None:
            raise UsageError(
                f"{display_name(Path(name))} matches no file",
                hint="Check the name. Hidden files do not match, and only ** searches subfolders.",
            )
        self._matches = chain((first,), matches)

    def __iter__(self) -> Iterator[InputFile]:
        if self.file:
            yield InputFile(self.file.path, self.file.relative, is_named=True, span=self.span)
        for match in self._matches:
            path = Path(match.path)
            yield InputFile(path, path.relative_to(self.base), span=match.span)


def _find(name: str, unread: list[str]) -> _Name:
    if not name:  # an unset variable in a script, which would mean the whole folder
        raise UsageError("an input has an empty name", hint="Use . for the current folder.")
    path = Path(name)
    try:
        if path.is_dir():
            return _Name(path, _WHOLE_FOLDER, unread)
        if path == STDIN or path.exists():
            return _Name(path, (), unread)
    except (OSError, ValueError) as error:  # name too long, NUL
        raise _unusable(name, error) from error
    fixed = list(takewhile(lambda part: not _is_pattern(part), path.parts))
    if len(fixed) == len(path.parts):
        raise UsageError(f"{display_name(path)} does not exist", hint="Check the name.")
    return _Name(Path(*fixed), path.parts[len(fixed) :], unread)


def _unusable(name: str, error: Exception) -> UsageError:
    return UsageError(f"{name!r} cannot be read: {reason(error)}", hint="Check the name.")


def _spans(names: Sequence[_Name]) -> Iterator[InputPart]:
    """Yield the part of all inputs that each name stands for."""
    sizes = [name.base.stat().st_size if name.base.is_file() else None for name in names]
    known = [size for size in sizes if size is not None]
    if len(known) < len(names) or not sum(known):
        yield from (_ALL.part(number, len(names)) for number in range(len(names)))
        return
    total, before = sum(known), 0
    for size in known:
        yield InputPart(before / total, (before + size) / total)
        before += size


# Walking


class _Match(NamedTuple):
    """A file that matches a pattern; matches sort by their path, as a string."""

    path: str
    span: InputPart


class _Walk:
    """Finds the files below a folder that match a pattern, in the order of their paths."""

    def __init__(self, unread: list[str]) -> None:
        self._unread = unread

    def matches(
        self,
        folder: str,
        pattern: Sequence[str],
        span: InputPart,
        names: Sequence[str] | None = None,
    ) -> Iterator[_Match]:
        """Yield the files below `folder`; links to folders are followed only if a name leads there.

        `names` are those in the folder, if they have been listed.
        """
        first, rest = pattern[0], pattern[1:]
        if not _is_pattern(first):
            yield from self._descend(_join(folder, first), rest, span)
            return
        if names is None:
            names = self._names_in(folder)
        if first == _ANY_DEPTH:
            here = self.matches(folder, rest or ("*",), span, names)
            yield from heapq.merge(here, self._below(folder, pattern, span, names))
            return
        for number, marked in enumerate(names):
            name, is_folder, _ = marked.partition("/")
            hidden = name.startswith(".") and not first.startswith(".")
            if hidden or bool(rest) != bool(is_folder) or not fnmatchcase(name, first):
                continue
            part = span.part(number, len(names))
            if rest:
                yield from self.matches(_join(folder, name), rest, part)
            else:
                yield _Match(_join(folder, name), part)

    def _below(
        self, folder: str, pattern: Sequence[str], span: InputPart, names: Sequence[str]
    ) -> Iterator[_Match]:
        """Yield the matches of `**` in the folders of a folder."""
        for number, marked in enumerate(names):
            if marked.endswith("/") and not marked.startswith("."):
                part = span.part(number, len(names))
                yield from self.matches(_join(folder, marked[:-1]), pattern, part)

    def _descend(self, path: str, rest: Sequence[str], span: InputPart) -> Iterator[_Match]:
        if not rest:
            if os.path.isfile(path):  # noqa: PTH113 - a Path for each of a million files is slow
                yield _Match(path, span)
        elif os.path.isdir(path):  # noqa: PTH112
            yield from self.matches(path, rest, span)

    def _names_in(self, folder: str) -> list[str]:
        """Return the names of the files and folders in `folder`, in the order of their paths.

        That of a folder has "/" at its end, and that of a link to a folder "/@": so "a-b" comes
        before what is in the folder "a". As strings, a million names take 80 MB.
        """
        names = list[str]()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        names.append(f"{entry.name}/")
                    elif entry.is_symlink() and entry.is_dir():
                        names.append(f"{entry.name}/@")
                    elif entry.is_file():
                        names.append(entry.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._unread.append(f"{display_name(Path(folder))}: {error.strerror}")
            return []
        names.sort()
        return names


def _distinct(matches: Iterator[_Match]) -> Iterator[_Match]:
    """Leave out what `**` finds in several ways; it comes at once."""
    before = None
    for match in matches:
        if match.path != before:
            yield match
        before = match.path


def _join(folder: str, name: str) -> str:
    if folder == ".":
        return name
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def _is_pattern(part: str) -> bool:
    return any(sign in part for sign in "*?[")


# Files that are left out


def _may_repeat(names: Sequence[_Name]) -> bool:
    """Whether two names, or a name in two ways, may lead to the same file."""
    for name in names:
        *folders, _ = name.pattern or ("",)
        # A link to a folder is followed where a name leads there.
        if any(part == ".." or (part != _ANY_DEPTH and _is_pattern(part)) for part in folders):
            return True
    if len(names) == 1:
        return False
    if all(name.file for name in names):
        return True  # their paths are in memory anyway
    bases = {Path(_identity(name.base)) if name.file else name.base.resolve() for name in names}
    return len(bases) < len(names) or any(not bases.isdisjoint(base.parents) for base in bases)


def _identity(path: Path) -> str:
    """Return the same path for all spellings of it; a link to a file is a file of its own."""
    return os.path.join(_real(os.path.join(os.getcwd(), path.parent)), path.name)  # noqa: PTH109, PTH118


@lru_cache(maxsize=64)  # of the files in a folder one after the other
def _real(folder: str) -> str:
    return os.path.realpath(folder)


class _Output:
    """A file or folder that the batch writes."""

    def __init__(self, path: Path) -> None:
        self._path, self._real = path, os.path.realpath(path)

    def is_at(self, file: InputFile) -> bool:
        """Whether an input is this file, or in this folder below the folder that is read."""
        path = _identity(file.path)
        if file.path.is_symlink():
            path = os.path.realpath(path)
        if path == self._real or self._is_linked(file.path):
            return True
        if not path.startswith(os.path.join(self._real, "")):  # noqa: PTH118
            return False
        above = Path(path).parents[len(file.relative.parts) - 1]
        return above in Path(self._real).parents

    def _is_linked(self, path: Path) -> bool:
        """Whether a file is a hard link to this one."""
        try:
            return path.stat().st_nlink > 1 and path.samefile(self._path)
        except OSError:  # one of them does not exist
            return False
