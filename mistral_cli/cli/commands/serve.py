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
    """Print each model that is served: memory, work done, how long it has been idle."""
    from mistral_cli.models.disk import format_size
    from mistral_cli.serving.daemon import facts
    from mistral_cli.serving.registry import all_served
    from mistral_cli.system.stdout import write_envelope
    from mistral_cli.system.tables import print_facts

    found = [facts(served) for served in all_served()]
    if json:
        write_envelope(context.obj, {"served": found})
        return
    if not found:
        context.obj.note("no model is served")
    for each in found:
        print_facts(context.obj, each, as_json=False, show={"resident": format_size, "pid": str})


@group.command()
def stop(context: typer.Context, model: ModelOption = None, quiet: QuietOption = False) -> None:
    """End what is served: all of it, or the model MODEL. Answers under way are cancelled."""
    from mistral_cli.errors import UsageError
    from mistral_cli.serving.daemon import stop as end
    from mistral_cli.serving.registry import all_served

    context.obj.quiet = quiet
    found = [served for served in all_served() if model in (None, served.model, served.path)]
    if model and not found:
        raise UsageError(f"{model} is not served", hint="mistral-cli serve status lists what is.")
    for served in found:
        end(served)
        context.obj.note(f"{served.model} is served no more")
    if not found:
        context.obj.note("no model is served")
