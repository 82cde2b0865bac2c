"""The user's aliases for models, in `config.toml`, whose other lines do not change."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.models.lock import hold_lock
from mistral_cli.models.references import is_text, parse_reference
from mistral_cli.models.sources import LocalFile
from mistral_cli.system.config import Config, cache_dir, config_file
from mistral_cli.system.encodings import decode

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

    from mistral_cli.system.reporter import Reporter

_NAME = re.compile(r"\w[\w.-]*")


def set_alias(name: str, reference: str, reporter: Reporter) -> str:
    """Make `name` an alias of a model reference; return the reference as stored in the file.

    A path is stored as an absolute path, so that it is valid in every folder. Raises `UsageError`
    for a name that could be another form of reference, for a path that is not UTF-8 and for a
    file that cannot be written, and the errors of `parse_reference`.
    """
    if not _NAME.fullmatch(name) or name.lower().endswith(".gguf"):
        raise UsageError(
            f"{name!r} cannot be an alias",
            hint="Use letters, digits, _, - and dots; the name must not end in .gguf.",
        )
    source = parse_reference(reference, Config())  # no aliases: an alias cannot name another one
    target = str(source.path.absolute()) if isinstance(source, LocalFile) else reference
    if not is_text(target):
        raise UsageError(
            f"{target!r} is not UTF-8 and cannot be stored in config.toml",
            hint="Rename the file, or make a link to it with another name.",
        )
    from tomlkit import nl

    with _changes(reporter) as document:
        if document and "aliases" not in document:
            document.add(nl())
        document.setdefault("aliases", {})[name] = target
    return target


def remove_alias(name: str, reporter: Reporter) -> None:
    """Remove one of the user's aliases. Raises `UsageError` if there is no such alias."""
    with _changes(reporter) as document:
        aliases = document.get("aliases", {})
        if name not in aliases:
            known = ", ".join(aliases) or "none"
            raise UsageError(f"you have no alias {name!r}", hint=f"Your aliases: {known}.")
        del aliases[name]


@contextmanager
def _changes(reporter: Reporter) -> Iterator[TOMLDocument]:
    """Yield the file's content and write it back after the block, under a lock."""
    lock_file = cache_dir() / "config.lock"  # not in the user's own folder of config.toml
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(lock_file, "changing config.toml", reporter))
        except OSError as error:
            raise MistralCliError(
                f"cannot write {lock_file}: {error.strerror}",
                hint=f"Make {lock_file.parent} writable, or set XDG_CACHE_HOME.",
            ) from error
        document = _read_document()
        yield document
        _write_document(document)


def _read_document() -> TOMLDocument:
    import tomlkit

    try:
        data = config_file().read_bytes()  # bytes: line ends do not change
        return tomlkit.parse(decode(data, str(config_file()), "utf-8").text)
    except (FileNotFoundError, NotADirectoryError):
        return tomlkit.document()


def _write_document(document: TOMLDocument) -> None:
    """Replace the file in one step: every reader sees either the old lines or the new ones."""
    import tomlkit

    path = config_file().resolve()  # keep a link to a file elsewhere, such as the user's dotfiles
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".config-", dir=path.parent) as folder:
            new = Path(folder, path.name)
            new.write_bytes(tomlkit.dumps(document).encode())
            if path.exists():
                shutil.copymode(path, new)
            new.replace(path)
    except OSError as error:
        raise MistralCliError(
            f"cannot write {path}: {error.strerror}",
            hint="Make the file and its folder writable, or edit the file yourself.",
        ) from error
