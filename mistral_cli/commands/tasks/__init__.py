"""The tasks. Each module has a function of its own name, from options to a Task.

A new task costs a file and a word here, and is a command of its own and one of `batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Annotated

import typer

from mistral_cli.options import OneOffOptions
from mistral_cli.signature import argument, command
from mistral_cli.task import Task

TASKS = ("generate", "translate", "summarize", "json_extract")

_TEXTS = argument(
    "texts",
    Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", show_default=False)],
)


def register(app: typer.Typer) -> None:
    """Add a command for each task."""
    for name, make in makers():
        app.command(name)(command(make, [_TEXTS], OneOffOptions, _run))


def makers() -> Iterator[tuple[str, Callable[..., Task]]]:
    """Each task's name on the command line, and its function."""
    for name in TASKS:
        yield name.replace("_", "-"), getattr(import_module(f".{name}", __name__), name)


def _run(
    task: Task, options: OneOffOptions, context: typer.Context, texts: list[str] | None
) -> None:
    from mistral_cli.run import run_task

    run_task(task, texts or (), options, context.obj)
