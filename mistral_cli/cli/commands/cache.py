"""`mistral-cli cache`: list and clear the prompt cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import typer

from mistral_cli.cli.framework import PlainGroup
from mistral_cli.system.options import JsonOption

group = typer.Typer(cls=PlainGroup, no_args_is_help=True)

_TITLES = {"model": "model", "tokens": "tokens", "size": "size", "last_used": "last used"}


@group.callback()
def cache() -> None:
    """List and clear the prompt cache."""


@group.command("list")
def list_entries(context: typer.Context, json: JsonOption = False) -> None:
    """List the cached prefixes of prompts."""
    from mistral_cli.generation.prompt_cache.cache import states_path
    from mistral_cli.generation.prompt_cache.store import Store
    from mistral_cli.models.disk import format_size
    from mistral_cli.system.tables import print_table

    rows = [
        {
            "model": entry.model,
            "tokens": entry.tokens,
            "size": entry.size,
            "last_used": entry.last_used.isoformat(),
            "path": str(entry.path),
        }
        for entry in Store(states_path(), 0).entries()
    ]
    show: Mapping[str, Callable[[Any], str]]
    show = {"size": format_size, "last_used": _minute}
    print_table(context.obj, "entries", rows, _TITLES, as_json=json, show=show)


@group.command()
def clear(context: typer.Context, json: JsonOption = False) -> None:
    """Delete all cached prefixes and report the freed space."""
    from mistral_cli.errors import MistralCliError, first_line
    from mistral_cli.generation.prompt_cache.cache import states_path
    from mistral_cli.generation.prompt_cache.store import Store
    from mistral_cli.models.disk import format_size
    from mistral_cli.system.stdout import write_envelope

    try:
        freed = Store(states_path(), 0).clear()
    except OSError as error:
        raise MistralCliError(
            f"cannot clear {states_path()}: {first_line(error)}", hint="Delete the folder yourself."
        ) from error
    if json:
        write_envelope(context.obj, {"freed": freed})
    else:
        context.obj.note(f"freed {format_size(freed)}")


@group.command()
def path(context: typer.Context) -> None:
    """Print the folder of the cache."""
    from mistral_cli.generation.prompt_cache.cache import states_path
    from mistral_cli.system.stdout import write_paths

    write_paths(context.obj, [states_path()])


def _minute(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M")
