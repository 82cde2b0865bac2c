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
    from mistral_cli.models.call import prepare_call
    from mistral_cli.models.store import locate_model
    from mistral_cli.system.stdout import write_envelope, write_paths

    call = prepare_call(context.obj, quiet=quiet)
    reference = call.model_name(model)
    found = str(locate_model(reference, call.config))
    if json:
        write_envelope(context.obj, {"model": reference, "path": found})
    else:
        write_paths(context.obj, [found])
