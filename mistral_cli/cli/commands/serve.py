"""`mistral-cli serve`: keep a model loaded, show what is served, and stop it."""

from __future__ import annotations

import typer

from mistral_cli.cli.framework import PlainGroup, expand
from mistral_cli.serving.options import ServeOptions
from mistral_cli.system.options import JsonOption, ModelOption, QuietOption

group = typer.Typer(cls=PlainGroup, invoke_without_command=True, rich_markup_mode=None)


@group.callback()
@expand(options=ServeOptions)
def serve(context: typer.Context, options: ServeOptions) -> None:
    """Load a model and keep it loaded: the other commands find and use it automatically.

    It runs until Ctrl-C, SIGTERM, `serve stop` or the idle timeout, which cancel the answers in
    progress. Only processes of the same user can reach it.
    """
    if context.invoked_subcommand:
        return
    if options.detach:
        from mistral_cli.serving.daemon import start_detached

        start_detached(context.obj)
    else:
        from mistral_cli.serving import server

        server.serve(options, context.obj)


@group.command()
def status(context: typer.Context, json: JsonOption = False) -> None:
    """Show each served model: memory, work done, idle time."""
    from mistral_cli.models.disk import format_size
    from mistral_cli.serving.daemon import status_of
    from mistral_cli.serving.registry import none_served, served_models
    from mistral_cli.system.stdout import write_envelope
    from mistral_cli.system.tables import print_facts

    served = [status_of(each) for each in served_models()]
    if json:
        write_envelope(context.obj, {"served": served})
        return
    if not served:
        context.obj.note(none_served())
    for each in served:
        print_facts(context.obj, each, as_json=False, show={"resident": format_size, "pid": str})


@group.command()
def stop(context: typer.Context, model: ModelOption = None, quiet: QuietOption = False) -> None:
    """Stop serving all models, or one; cancels answers in progress."""
    from mistral_cli.errors import UsageError
    from mistral_cli.serving import daemon
    from mistral_cli.serving.registry import none_served, served_models

    context.obj.quiet = quiet
    models = [each for each in served_models() if model in (None, each.model, each.path)]
    if model and not models:
        raise UsageError(
            f"{model} is not served", hint="mistral-cli serve status lists the served models."
        )
    for each in models:
        daemon.stop(each)
        context.obj.note(f"stopped serving {each.model}")
    if not models:
        context.obj.note(none_served())
