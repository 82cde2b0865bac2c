"""`mistral-cli generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.options import TaskOptions, takes_task_options


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(takes_task_options(generate))


def generate(
    context: typer.Context,
    prompt: Annotated[list[str] | None, typer.Argument(show_default=False)] = None,
    *,
    options: TaskOptions,
) -> None:
    """Answer a prompt; text from a file or a pipe follows it."""
    from mistral_cli.draft import Task
    from mistral_cli.run import run_task

    words = [word for word in prompt or () if word != "-"]
    stdin = ["-"] * ("-" in (prompt or ()))
    run_task(Task("generate"), [" ".join(words)] * bool(words) + stdin, options, context.obj)
