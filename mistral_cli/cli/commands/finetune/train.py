"""`mistral-cli finetune train`, and `finetune` for short."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mistral_cli.cli.signature import argument, command
from mistral_cli.finetune.options import TrainingOptions

_DATA = argument(
    "data",
    Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A .csv with the columns prompt and completion, or text; a .jsonl with these or "
            "messages.",
            show_default=False,
        ),
    ],
    required=True,
)


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command("train")(command(train, [_DATA], TrainingOptions, _run))


def train() -> None:
    """Train a LoRA adapter on prompts and completions; `finetune DATA` for short."""


def _run(_: None, options: TrainingOptions, context: typer.Context, data: Path) -> None:
    from mistral_cli.finetune.run import finetune

    finetune(data, options, context.obj)
