"""`mistral-cli evaluate`: how good models and prompts are on texts with known answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mistral_cli.batch.options import BatchOptions
from mistral_cli.cli.framework import LazyGroup, expand, without
from mistral_cli.evaluation.metrics import TASKS as MEASURED
from mistral_cli.evaluation.options import REPLACED, EvaluationOptions
from mistral_cli.generation.task import Task
from mistral_cli.tasks import TASKS

_Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Table (.csv, .tsv) or .jsonl file with the columns text and expected.",
        show_default=False,
    ),
]


class _Tasks(LazyGroup):
    targets: ClassVar[Mapping[str, str]] = {
        name: target for name, target in TASKS.items() if name in MEASURED
    }

    def as_command(self, name: str, function: Callable[..., Task]) -> Callable[..., None]:  # noqa: ARG002
        """Return the command for the task that `function` makes from its options."""

        @expand(
            task=function, evaluation=EvaluationOptions, options=without(BatchOptions, REPLACED)
        )
        def run(
            context: typer.Context,
            task: Task,
            evaluation: EvaluationOptions,
            options: BatchOptions,
            data: _Data,
        ) -> None:
            from mistral_cli.evaluation.run import run_evaluation

            run_evaluation(task, data, options, evaluation, context.obj)

        return run


group = typer.Typer(cls=_Tasks, no_args_is_help=True)


@group.callback()
def evaluate() -> None:
    """Measure models and prompts on texts with known answers; an interrupted run resumes."""
