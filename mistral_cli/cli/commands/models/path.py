"""`mistral-cli models path`."""

from __future__ import annotations

import typer

from mistral_cli.system.options import JsonOption, ModelArgument, PathsOnlyOption


def path(
    context: typer.Context,
    model: ModelArgument = None,
    json: JsonOption = False,
    quiet: PathsOnlyOption = False,
) -> None:
    """Print where a model's file is; fail if it is not on this machine."""
    from mistral_cli.models.store import locate
    from mistral_cli.system.config import load
    from mistral_cli.system.stdout import write_envelope, write_paths

    context.obj.quiet = quiet
    config = load(context.obj.env)
    reference = model or config.model
    found = str(locate(reference, config))
    if json:
        write_envelope(context.obj, {"model": reference, "path": found})
    else:
        write_paths(context.obj, [found])
