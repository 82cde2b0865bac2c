"""`mistral-cli serve`: keep a model loaded; what is served, and ending it."""

from __future__ import annotations

import typer

from mistral_cli.cli.help_pages import PlainCommand, PlainGroup
from mistral_cli.cli.signature import command
from mistral_cli.serving.options import ServeOptions
from mistral_cli.system.options import JsonOption, ModelOption, QuietOption


def register(app: typer.Typer) -> None:
    """Add the group to the program; without a command of it, it serves."""
    group = typer.Typer(cls=PlainGroup, invoke_without_command=True, rich_markup_mode=None)
    group.callback()(command(serve, [], ServeOptions, _run))
    group.command(cls=PlainCommand)(status)
    group.command(cls=PlainCommand)(stop)
    app.add_typer(group, name="serve")


def serve() -> None:
    """Load a model and keep it: the other commands find and use it by themselves.

    It runs until Ctrl-C, SIGTERM, `serve stop` or the idle time-out; answers under way are
    then cancelled. Only this user's processes can reach it.
    """


def _run(_: None, options: ServeOptions, context: typer.Context) -> None:
    if context.invoked_subcommand:
        return
    if options.detach:
        from mistral_cli.serving.daemon import start_detached

        start_detached(context.obj)
    else:
        from mistral_cli.serving.server import serve

        serve(options, context.obj)


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
