"""`mistral-cli models list`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import typer

from mistral_cli.system.options import JsonOption, PathsOnlyOption

_TITLES = {
    "name": "model",
    "size": "on this machine",
    "quantization": "quantization",
    "last_used": "last used",
    "default": "default",
    "source": "from",
}


def list_models(
    context: typer.Context, json: JsonOption = False, quiet: PathsOnlyOption = False
) -> None:
    """List the aliases and the GGUF files that are here."""
    from mistral_cli.models.disk import format_size
    from mistral_cli.models.store import list_models as listed
    from mistral_cli.system.config import load_config
    from mistral_cli.system.stdout import write_paths
    from mistral_cli.system.tables import print_table

    rows = [
        {
            **asdict(entry),
            "path": str(entry.path) if entry.path else None,
            "last_used": entry.last_used.isoformat() if entry.last_used else None,
        }
        for entry in listed(load_config(context.obj.env))
    ]
    if quiet and not json:
        write_paths(context.obj, (row["path"] for row in rows))
        return
    show: Mapping[str, Callable[[Any], str]]
    show = {"size": format_size, "last_used": _day, "default": _mark}
    print_table(context.obj, "models", rows, _TITLES, as_json=json, show=show, shrink="source")


def _day(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().date().isoformat()


def _mark(default: bool) -> str:
    return "default" if default else ""
