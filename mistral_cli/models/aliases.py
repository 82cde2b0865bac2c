"""The user's own names for models, in `config.toml`, whose other lines stay as they are."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.models.lock import one_at_a_time
from mistral_cli.models.references import is_text, parse_reference
from mistral_cli.models.sources import LocalFile
from mistral_cli.system.config import Config, cache_dir, config_file

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from mistral_cli.system.reporter import Reporter

_NAME = re.compile(r"\w[\w.-]*")


def set_alias(name: str, reference: str, reporter: Reporter) -> str:
    """Let `name` stand for a model reference, and return the reference as it was written down.

    A path is written in full, so that it holds in every folder. Raises `UsageError` for a name
    that could be another form of reference, for a path that is not UTF-8 and for a file that
    cannot be written, and what `references.parse` raises.
    """
    if not _NAME.fullmatch(name) or name.lower().endswith(".gguf"):
        raise UsageError(
            f"{name!r} cannot be an alias",
            hint="Use letters, digits, _, - and dots, and no .gguf at the end.",
        )
    source = parse_reference(reference, Config())  # no aliases: one cannot lead to another
    target = str(source.path.absolute()) if isinstance(source, LocalFile) else reference
    if not is_text(target):
        raise UsageError(
            f"{target!r} is not UTF-8, which config.toml must be",
            hint="Rename the file, or make a link to it with another name.",
        )
    from tomlkit import nl

    with _changing(reporter) as document:
        if document and "aliases" not in document:
            document.add(nl())
        document.setdefault("aliases", {})[name] = target
    return target


def remove_alias(name: str, reporter: Reporter) -> None:
    """Forget one of the user's aliases. Raises `UsageError` when there is none."""
    with _changing(reporter) as document:
        aliases = document.get("aliases", {})
        if name not in aliases:
            known = ", ".join(aliases) or "none"
            raise UsageError(f"there is no alias {name!r} of yours", hint=f"Yours: {known}.")
        del aliases[name]


@contextmanager
def _changing(reporter: Reporter) -> Iterator[TOMLDocument]:
    """The file's content, written back at the end; no other process changes it meanwhile."""
    lock_file = cache_dir() / "config.lock"  # the folder of config.toml is the user's to keep tidy
    with ExitStack() as stack:
        try:
            stack.enter_context(one_at_a_time(lock_file, "changing config.toml", reporter))
        except OSError as error:
            raise UsageError(
                f"cannot write {lock_file}: {error.strerror}",
                hint=f"Make {lock_file.parent} writable, or set XDG_CACHE_HOME.",
            ) from error
        document = _read()
        yield document
        _write(document)


def _read() -> TOMLDocument:
    import tomlkit

    try:
        return tomlkit.parse(config_file().read_bytes())  # bytes: line ends stay as they are
    except (FileNotFoundError, NotADirectoryError):
        return tomlkit.document()


def _write(document: TOMLDocument) -> None:
    """Replace the file in one step: whoever reads it sees the old lines or the new."""
    import tomlkit

    path = config_file().resolve()  # a link into somebody's dotfiles stays a link
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".config-", dir=path.parent) as folder:
            part = Path(folder, path.name)
            part.write_bytes(tomlkit.dumps(document).encode())
            if path.exists():
                shutil.copymode(path, part)
            part.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}",
            hint="Make the file and its folder writable, or write the line yourself.",
        ) from error
