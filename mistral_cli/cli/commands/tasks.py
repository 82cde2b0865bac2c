"""`mistral-cli generate`, `translate` and so on: a task for the texts on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from mistral_cli.cli.framework import expand
from mistral_cli.generation.options import OneOffOptions
from mistral_cli.generation.task import Task

_Texts = Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", show_default=False)]


def one_off_command(make_task: Callable[..., Task]) -> Callable[..., None]:
    """Return the command for the task that `make_task` makes from its options."""

    @expand(task=make_task, options=OneOffOptions)
    def run(
        context: typer.Context, task: Task, options: OneOffOptions, texts: _Texts = None
    ) -> None:
        from mistral_cli.generation.run import run_task

        run_task(task, texts or (), options, context.obj)

    return run
