"""`mistral-cli summarize`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.options import TaskOptions, takes_task_options


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(takes_task_options(summarize))


def summarize(
    context: typer.Context,
    texts: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    sentences: Annotated[
        int | None,
        typer.Option("--sentences", min=1, help="Sentences to write.", show_default=False),
    ] = None,
    *,
    options: TaskOptions,
) -> None:
    """Summarize texts, each argument and each file by itself."""
    from mistral_cli.draft import Task
    from mistral_cli.run import run_task

    values = {} if sentences is None else {"sentences": sentences}
    run_task(Task("summarize", values), texts or (), options, context.obj)
