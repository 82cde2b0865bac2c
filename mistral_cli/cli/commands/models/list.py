"""`mistral-cli models list` and `models path`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from mistral_cli.system.options import JsonOption, ModelArgument, PathsOnlyOption

if TYPE_CHECKING:
    from mistral_cli.models.store import ListedModel

_TITLES = {
    "name": "model",
    "size": "on this machine",
    "quantization": "quantization",
    "last_used": "last used",
    "default": "default",
    "source": "source",
}


def list_models(
    context: typer.Context, json: JsonOption = False, quiet: PathsOnlyOption = False
) -> None:
    """List the aliases and the GGUF files on this machine."""
    from mistral_cli.models import store
    from mistral_cli.models.call import prepare_call
    from mistral_cli.models.disk import format_size
    from mistral_cli.system.stdout import write_paths
    from mistral_cli.system.tables import print_table

    call = prepare_call(context.obj, quiet=quiet)
    rows = [_row(model) for model in store.list_models(call.config)]
    if quiet and not json:
        write_paths(context.obj, (row["path"] for row in rows))
        return
    show: Mapping[str, Callable[[Any], str]]
    show = {"size": format_size, "last_used": _day, "default": _default}
    print_table(context.obj, "models", rows, _TITLES, as_json=json, show=show, shrink="source")
    if not json and (unverified := [row for row in rows if row["verified"] is False]):
        call.terminal.note(
            f"{len(unverified)} built-in models are unverified: not pulled with this program yet; "
            "`mistral-cli models pull MODEL` checks the file"
        )


def path(
    context: typer.Context,
    model: ModelArgument = None,
    json: JsonOption = False,
    quiet: PathsOnlyOption = False,
) -> None:
    """Print the path of a model's file; fail if it is not on this machine."""
    from mistral_cli.models.call import prepare_call
    from mistral_cli.models.store import locate_model
    from mistral_cli.system.stdout import write_envelope, write_paths

    call = prepare_call(context.obj, quiet=quiet)
    reference = call.model_name(model)
    file = str(locate_model(reference, call.config))
    if json:
        write_envelope(context.obj, {"model": reference, "path": file})
    else:
        write_paths(context.obj, [file])


def _row(model: ListedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "source": model.source,
        "path": str(model.path) if model.path else None,
        "size": model.size,
        "quantization": model.quantization,
        "last_used": model.last_used.isoformat() if model.last_used else None,
        "default": model.default,
        "verified": model.verified,
    }


def _day(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().date().isoformat()


def _default(default: bool) -> str:
    return "default" if default else ""
