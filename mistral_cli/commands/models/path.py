"""`mistral-cli models path`."""

from __future__ import annotations

import typer

from mistral_cli.options import JsonOption, ModelArgument


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(path)


def path(context: typer.Context, model: ModelArgument = None, json: JsonOption = False) -> None:
    """Print where a model's file is; fail if it is not on this machine."""
    from mistral_cli.config import load
    from mistral_cli.models.store import locate
    from mistral_cli.output.stdout import write, write_envelope

    config = load(context.obj.env)
    reference = model or config.model
    found = str(locate(reference, config))
    if json:
        write_envelope(context.obj, {"model": reference, "path": found})
    else:
        write(context.obj, f"{found}\n")
