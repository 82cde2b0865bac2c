"""What a browser's address line, or another tool's notation, says of a model of the hub."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from mistral_cli.errors import UsageError

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
