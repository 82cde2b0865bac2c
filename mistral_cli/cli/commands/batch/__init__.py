"""`mistral-cli batch`: every task, for many texts in one run, and what is done with results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import typer

from mistral_cli.batch.cluster.address import LOCAL, is_address
from mistral_cli.batch.options import BatchOptions
from mistral_cli.cli.framework import LazyGroup, PlainCommand, expand, with_optional_value
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


class _BatchCommand(PlainCommand):
    """A command in which `--ray` may stand without an address, in front of an input too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, after writing the default address where none is given."""
        args = with_optional_value(args, "--ray", is_address, LOCAL)
        return super().parse_args(ctx, args)


class _Batch(LazyGroup):
    kind = _BatchCommand
    targets: ClassVar = TASKS | {
        "merge": "mistral_cli.cli.commands.batch.merge:merge",
        "status": "mistral_cli.cli.commands.batch.status:status",
    }

    def as_command(self, name: str, function: Callable[..., Any]) -> Callable[..., None]:
        """Return the command for the task that `function` makes from its options."""
        if name not in TASKS:
            return function

        @expand(task=function, options=BatchOptions)
        def run(
            context: typer.Context, task: Task, options: BatchOptions, inputs: _Inputs = None
        ) -> None:
            from mistral_cli.batch.command import run_batch

            run_batch(task, inputs or (), options, context.obj)

        return run


group = typer.Typer(cls=_Batch, no_args_is_help=True)


@group.callback()
def batch() -> None:
    """Run a task for many texts; an interrupted run resumes."""
