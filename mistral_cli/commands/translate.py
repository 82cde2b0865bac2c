"""`mistral-cli translate`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.options import TaskOptions, takes_task_options


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(takes_task_options(translate))


def translate(
    context: typer.Context,
    texts: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="LANGUAGE",
            help="Language to translate into (default: the template's, English).",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="LANGUAGE", help="Language of the text.", show_default=False
        ),
    ] = None,
    *,
    options: TaskOptions,
) -> None:
    """Translate texts, each argument and each file by itself."""
    from mistral_cli.draft import Task
    from mistral_cli.errors import UsageError
    from mistral_cli.run import run_task

    given = {"to": to, "from": source}
    values = {name: value for name, value in given.items() if value is not None}
    if not all(map(str.strip, values.values())):
        raise UsageError("a language is empty", hint="Write for example --to French.")
    run_task(Task("translate", values), texts or (), options, context.obj)
