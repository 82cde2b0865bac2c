"""Parses a model reference (`-m/--model`), and finds or downloads the file that it names."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mistral_cli.errors import MistralCliError, ModelNotAvailable, UsageError
from mistral_cli.models.catalog import ALIASES
from mistral_cli.models.gguf.split import first_part, first_path
from mistral_cli.models.sources import (
    DEFAULT_QUANT,
    HubFile,
    HubRepo,
    LocalFile,
    ModelSource,
    ggufs_in,
    is_file,
    quant_of,
)

if TYPE_CHECKING:
    from mistral_cli.system.config import Config
    from mistral_cli.system.reporter import Reporter

FORMS = (
    "Use an alias (`mistral-cli models list`), a path to a .gguf file, "
    f"owner/repo/file.gguf[@REVISION], or owner/repo[@REVISION][:QUANT] (default {DEFAULT_QUANT})."
)

_HUB_REFERENCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@:]+\.gguf))?"
    r"(?:@(?P<revision>[^@:]+))?(?::(?P<quant>\w[\w-]*))?",
    re.IGNORECASE,
)

_HUB_HOSTS = {"huggingface.co", "hf.co"}
_URL = re.compile(
    r"(?:https?://(?P<host>[^/?#]*)|(?=hf\.co/|huggingface\.co/)(?P<bare>[^/]+))"
    r"(?P<path>[^?#]*)(?:[?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_URL_PATH = re.compile(
    r"/(?P<repo>[\w.-]+/[\w.-]+?)"
    r"(?:/(?:resolve|blob|raw)/(?P<revision>[^/]+)(?P<file>/.+)"
    r"|/tree/(?P<branch>[^/]+)(?:/(?P<folder>[^:]+?))?|(?P<short>/.+\.gguf))?/?(?P<quant>:\w[\w-]*)?",
    re.IGNORECASE,
)


def parse_reference(reference: str, config: Config) -> ModelSource:
    """Return the source that a model reference names. Reads the file system, not the network.

    Aliases come first (the user's before the built-in ones), then files that exist, then the
    forms of `FORMS` and URLs of the hub's pages. Raises `ModelNotAvailable` for an unknown name,
    and `UsageError` for a reference that has none of these forms.
    """
    if target := config.aliases.get(reference):
        try:
            # Without the user's aliases: an alias cannot name another alias, or itself.
            named = parse_reference(target, replace(config, aliases={}))
        except MistralCliError as error:
            message = f"the alias {reference!r} in config.toml: {error.message}"
            raise error.with_message(message) from error
        return replace(named, alias=reference) if isinstance(named, LocalFile) else named
    if source := ALIASES.get(reference):
        return source
    reference = _from_url(reference) or reference
    path = _expand(reference)
    if is_file(path):
        return LocalFile.of(path)
    hub_form = _HUB_REFERENCE.fullmatch(reference) if is_text(reference) else None
    is_gguf = reference.lower().endswith(".gguf")
    if is_gguf and not (hub_form and hub_form["file"] and reference[0] not in ".~"):
        return LocalFile.of(path)
    if hub_form and not (hub_form["file"] and hub_form["quant"]):
        if hub_form["file"]:
            return HubFile(hub_form["repo"], first_part(hub_form["file"]), hub_form["revision"])
        quant = (hub_form["quant"] or DEFAULT_QUANT).upper()
        return HubRepo(hub_form["repo"], quant, hub_form["revision"])
    raise _unknown_model(reference, config)


def resolve_reference(reference: str, config: Config, reporter: Reporter) -> Path:
    """Return the local file of a model reference, after downloading it if necessary.

    Raises the errors of `parse_reference`, and `ModelNotAvailable` if the download fails.
    """
    source = parse_reference(reference, config)
    return source.locate() or source.fetch(reporter)


def is_text(reference: str) -> bool:
    """Return True if UTF-8 can encode the reference; a path may contain any bytes."""
    try:
        reference.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown_model(reference: str, config: Config) -> MistralCliError:
    # Not Path.is_dir, which raises an error for a name that is too long.
    if reference and os.path.isdir(folder := _expand(reference)):  # noqa: PTH112
        return _folder(folder)
    if re.search(r"[/\\@:]", reference):
        return UsageError(f"{reference!r} is not a model reference", hint=FORMS)
    close = difflib.get_close_matches(reference, [*ALIASES, *config.aliases], n=3)
    did_you_mean = f"Did you mean {' or '.join(close)}? " if close else ""
    return ModelNotAvailable(f"there is no model {reference!r}", hint=did_you_mean + FORMS)


def _folder(folder: Path) -> ModelNotAvailable:
    models = dict.fromkeys(first_path(path) for path in ggufs_in(folder))
    names = [shlex.quote(str(path)) for path in models]
    hint = f"It has a model: use {' or '.join(names[:3])}." if names else "It has no .gguf file."
    return ModelNotAvailable(f"{folder} is a folder, not a model", hint=hint)


def _expand(reference: str) -> Path:
    try:
        return Path(reference).expanduser()
    except RuntimeError:  # the user after the ~ does not exist
        return Path(reference)


def _from_url(text: str) -> str | None:
    """Return the model reference that a URL of the hub names; None if `text` is not a URL.

    Accepts the URLs of a browser and the notation of other tools (`hf.co/owner/repo`). Raises
    `UsageError` for any other URL: models from elsewhere are not downloaded.
    """
    if not (url := _URL.fullmatch(text)):
        return None
    if (url["host"] or url["bare"] or "").lower() not in _HUB_HOSTS | {_configured_host()}:
        raise UsageError(
            f"{text!r} is not a URL of the model hub",
            hint="Download the file yourself and use its path; HF_ENDPOINT selects another hub.",
        )
    match = _URL_PATH.fullmatch(url["path"])
    folder = unquote(match["folder"] or "") if match else ""
    quant = quant_of(f"{folder}.gguf") if folder else None
    if not match or (folder and not quant):
        raise UsageError(
            f"{text!r} does not lead to a model of the hub",
            hint="Use the URL of a repository's page, of a quantization's folder or a .gguf file.",
        )
    revision = unquote(match["revision"] or match["branch"] or "")
    file = unquote(match["file"] or match["short"] or "")
    at = f"@{revision}" if revision else ""
    return f"{match['repo']}{file}{at}{f':{quant}' if quant else match['quant'] or ''}"


def _configured_host() -> str:
    endpoint = _URL.fullmatch(os.environ.get("HF_ENDPOINT", ""))
    return (endpoint["host"] or "").lower() if endpoint else ""
