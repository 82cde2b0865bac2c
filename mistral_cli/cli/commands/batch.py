"""`mistral-cli batch`: every task, for many texts in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mistral_cli.cli.commands.tasks import TASKS, maker
from mistral_cli.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.generation.task import Task

_Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT]...",
        help="Files, globs, folders, .jsonl, .csv; - or nothing for the lines of stdin.",
        show_default=False,
    ),
]


class Tasks(LazyGroup):
    """The tasks, for many texts."""

    lines = TASKS

    @classmethod
    def register(cls, name: str, app: typer.Typer) -> None:
        """Add the command for the task `name`."""
        from mistral_cli.batch.options import BatchOptions
        from mistral_cli.cli.signature import argument, command

        app.command(name)(command(maker(name), [argument("inputs", _Inputs)], BatchOptions, _run))


def register(app: typer.Typer) -> None:
    """Add the group with a command for each task."""
    app.add_typer(typer.Typer(cls=Tasks, no_args_is_help=True), name="batch")


def _run(
    task: Task, options: BatchOptions, context: typer.Context, inputs: list[str] | None
) -> None:
    from mistral_cli.batch.run import run_batch

    run_batch(task, inputs or (), options, context.obj)
