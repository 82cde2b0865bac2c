"""`mistral-cli batch`: every task, for many texts in one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from mistral_cli.batch.options import BatchOptions
from mistral_cli.cli.framework import LazyGroup, expand
from mistral_cli.generation.task import Task
from mistral_cli.tasks import TASKS

_Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT]...",
        help="Files, globs, folders, .jsonl or .csv files; - or nothing: each line of stdin.",
        show_default=False,
    ),
]


class _Tasks(LazyGroup):
    targets = TASKS

    def as_command(self, name: str, function: Callable[..., Task]) -> Callable[..., None]:  # noqa: ARG002
        """Return the command for the task that `function` makes from its options."""

        @expand(task=function, options=BatchOptions)
        def run(
            context: typer.Context, task: Task, options: BatchOptions, inputs: _Inputs = None
        ) -> None:
            from mistral_cli.batch.run import run_batch

            run_batch(task, inputs or (), options, context.obj)

        return run


group = typer.Typer(cls=_Tasks, no_args_is_help=True)


@group.callback()
def batch() -> None:
    """Run a task for many texts; an interrupted run resumes."""
