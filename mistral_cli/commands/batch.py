"""`mistral-cli batch`: every task, for many texts in one run."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.batch.options import BatchOptions
from mistral_cli.commands.tasks import makers
from mistral_cli.signature import argument, command
from mistral_cli.task import Task

_INPUTS = argument(
    "inputs",
    Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Files, globs, folders, .jsonl, .csv; - or nothing for the lines of stdin.",
            show_default=False,
        ),
    ],
)


def register(app: typer.Typer) -> None:
    """Add the group with a command for each task."""
    group = typer.Typer(no_args_is_help=True, help="Run a task for many texts; resumes by itself.")
    for name, make in makers():
        group.command(name)(command(make, [_INPUTS], BatchOptions, _run))
    app.add_typer(group, name="batch")


def _run(
    task: Task, options: BatchOptions, context: typer.Context, inputs: list[str] | None
) -> None:
    from mistral_cli.batch.run import run_batch

    run_batch(task, inputs or (), options, context.obj)
