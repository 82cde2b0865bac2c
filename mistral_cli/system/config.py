"""The user's configuration (`config.toml`, environment variables) and the program's folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mistral_cli.errors import UsageError
from mistral_cli.system.encodings import AUTO, decode

APP = "mistral-cli"

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) *([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Config:
    """Settings that apply to every call unless an option overrides them."""

    model: str = "mistral"
    """The model reference that applies without `-m`."""
    engine: str = "auto"
    aliases: Mapping[str, str] = field(default_factory=dict)
    """The user's own names for model references."""
    prompt_cache: str = "4 GB"
    """The largest size of the prompt cache; "0" turns it off."""
    encoding: str = AUTO
    """The encoding of input files that applies without `--encoding`."""
    reasoning: str = "auto"
    """The mode that applies without `--reasoning`."""
    on_limit: str = "fail"
    """What happens to JSON that reaches its limit without `--on-limit`."""
    facts: str = "report"
    """The mode that applies without `--facts`."""
    preamble: str = "off"
    """Whether a preamble is kept without `--preamble` or `--no-preamble`."""
    servers: tuple[str, ...] = ()
    """The addresses of servers that answer without `--server`."""
    server_key_env: str = "MISTRAL_CLI_SERVER_KEY"
    """The environment variable with the API key of the servers."""
    server_key_file: str = ""
    """A file with that key; the variable comes first."""

    @property
    def prompt_cache_bytes(self) -> int:
        """`prompt_cache` in bytes. Raises UsageError if it is not a size."""
        size = _SIZE.fullmatch(self.prompt_cache.strip())
        if not size:
            raise UsageError(
                f"{self.prompt_cache!r} is not a valid size for the prompt cache",
                hint='Write for example: prompt_cache = "4 GB", or "0" to turn it off.',
            )
        return int(float(size[1]) * _UNITS[size[2].upper()])


def config_dir() -> Path:
    """Return the folder of `config.toml`; `XDG_CONFIG_HOME` moves it."""
    from platformdirs import user_config_path

    return user_config_path(APP, appauthor=False)


def config_file() -> Path:
    """Return the path of the user's settings, which need not exist."""
    return config_dir() / "config.toml"


def cache_dir() -> Path:
    """Return the folder of files that can be made again; `XDG_CACHE_HOME` moves it."""
    from platformdirs import user_cache_path

    return user_cache_path(APP, appauthor=False)


def data_dir() -> Path:
    """Return the folder of files made for this user; `XDG_DATA_HOME` moves it."""
    from platformdirs import user_data_path

    return user_data_path(APP, appauthor=False)


def runtime_dir() -> Path:
    """Return the folder of this user's sockets; `XDG_RUNTIME_DIR` moves it.

    Raises OSError if the folder below /tmp that replaces an unset one is not this user's alone.
    """
    import warnings

    from platformdirs import user_runtime_path

    with warnings.catch_warnings(action="ignore"):  # it warns if cron leaves the variable unset
        return user_runtime_path(APP, appauthor=False)


def log_dir() -> Path:
    """Return the folder of the logs of background processes; `XDG_STATE_HOME` moves it."""
    from platformdirs import user_log_path

    return user_log_path(APP, appauthor=False)


def prompts_dir() -> Path:
    """Return the folder of the user's own prompt templates."""
    return config_dir() / "prompts"


def load_config(env: Mapping[str, str]) -> Config:
    """Return the configuration: the environment overrides the file, the file the defaults.

    The variables are `MISTRAL_CLI_MODEL`, `MISTRAL_CLI_ENGINE`, `MISTRAL_CLI_PROMPT_CACHE`,
    `MISTRAL_CLI_ENCODING`, `MISTRAL_CLI_REASONING`, `MISTRAL_CLI_ON_LIMIT`, `MISTRAL_CLI_FACTS`,
    `MISTRAL_CLI_PREAMBLE`, `MISTRAL_CLI_SERVERS` (with spaces between the addresses),
    `MISTRAL_CLI_SERVER_KEY_ENV` and `MISTRAL_CLI_SERVER_KEY_FILE`; an empty one counts as unset.
    Raises `UsageError` if the file cannot be read, is not TOML, or has an unknown key or a value of
    the wrong type.
    """
    settings = _read(config_file())
    for key in (each.name for each in fields(Config) if each.name != "aliases"):
        if value := env.get(f"MISTRAL_CLI_{key.upper()}"):
            settings[key] = tuple(value.split()) if key == "servers" else value
    return Config(**settings)


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        settings = tomllib.loads(decode(path.read_bytes(), str(path), "utf-8").text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}",
            hint="Make the file readable, or remove it.",
        ) from error
    except UsageError as error:
        raise UsageError(error.message, hint="Save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:  # bad TOML, a thousand brackets
        raise UsageError(
            f"{path} is not valid TOML: {error}", hint="Correct the file, or remove it."
        ) from error
    for key, value in settings.items():
        _check(path, key, value)
    if "servers" in settings:
        settings["servers"] = tuple(settings["servers"])
    return settings


def _check(path: Path, key: str, value: object) -> None:
    known = sorted(setting.name for setting in fields(Config))
    if key not in known:
        raise UsageError(f"{path}: unknown key {key!r}", hint=f"Known keys: {', '.join(known)}.")
    if key == "servers":
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise UsageError(
                f"{path}: 'servers' must be a list of addresses",
                hint='Write for example: servers = ["http://localhost:8000"]',
            )
        return
    if key != "aliases":
        if not isinstance(value, str) or not value:
            example = getattr(Config, key) or "~/.config/server-key"
            raise UsageError(
                f"{path}: {key!r} must be a non-empty string, not {value!r}",
                hint=f'Write for example: {key} = "{example}"',
            )
        return
    if not isinstance(value, dict):
        raise UsageError(
            f"{path}: 'aliases' must be a table, not {value!r}",
            hint='Write for example: [aliases] and below it: work = "owner/repo/file.gguf"',
        )
    for name, target in value.items():
        if not isinstance(target, str) or not target:
            raise UsageError(
                f"{path}: 'aliases.{name}' must be a model reference, not {target!r}",
                hint=f'Write for example: {name} = "owner/repo/file.gguf"',
            )
