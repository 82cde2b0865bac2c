"""The addresses of the servers that answer, and their API key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError, reason

if TYPE_CHECKING:
    from mistral_cli.system.config import Config

_NONE = "none"


def chosen_addresses(given: Sequence[str] | None, configured: Sequence[str]) -> tuple[str, ...]:
    """The addresses that `--server` names, else the `configured` ones; "none" names no server."""
    if given:
        return () if _NONE in given else tuple(given)
    return tuple(configured)


def server_key(config: Config, env: Mapping[str, str] = os.environ) -> str:
    """The API key from the environment or the file; empty if there is none. Raises UsageError."""
    if key := env.get(config.server_key_env, "").strip():
        return _checked(key, config.server_key_env)
    if not config.server_key_file:
        return ""
    path = Path(config.server_key_file).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the API key in {path}: {reason(error)}",
            hint="Correct server_key_file in config.toml.",
        ) from error
    return _checked(text.strip(), str(path))


def _checked(key: str, where: str) -> str:
    """`key`, which is never part of a message."""
    if not key.isascii() or not key.isprintable():
        raise UsageError(
            f"the API key in {where} has characters that no header can have",
            hint="It must be one line of ASCII.",
        )
    return key
