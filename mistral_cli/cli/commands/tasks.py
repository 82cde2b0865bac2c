"""The tasks. Each module has a function of its own name, from options to a Task.

A new task costs a file and a line here, and is a command of its own and one of `batch`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mistral_cli.generation.options import OneOffOptions
    from mistral_cli.generation.task import Task

TASKS = {
    "generate": "Answer a prompt; text from a file or a pipe follows it.",
    "translate": "Translate texts, each by itself, and keep their structure.",
    "summarize": "Summarize texts of any length, each by itself.",
    "json-extract": "Turn texts into JSON that holds to fields or a schema.",
}

_Texts = Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", show_default=False)]


def register_one_off(name: str, app: typer.Typer) -> None:
    """Add the command for the task `name`."""
    from mistral_cli.cli.signature import argument, command
    from mistral_cli.generation.options import OneOffOptions

    app.command(name)(command(maker(name), [argument("texts", _Texts)], OneOffOptions, _run))


def maker(name: str) -> Callable[..., Task]:
    """The function of the task that the command line calls `name`."""
    module = name.replace("-", "_")
    found: Callable[..., Task] = getattr(import_module(f"mistral_cli.tasks.{module}"), module)
    return found


def _run(
    task: Task, options: OneOffOptions, context: typer.Context, texts: list[str] | None
) -> None:
    from mistral_cli.generation.run import run_task

    run_task(task, texts or (), options, context.obj)
