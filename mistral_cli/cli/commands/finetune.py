"""`mistral-cli finetune`: train a LoRA adapter on a table, or export one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mistral_cli.cli.framework import PlainGroup, expand
from mistral_cli.finetune.options import ForceOption, MergedType, TrainingOptions
from mistral_cli.system.options import ModelOption, OfflineOption, QuietOption

_Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A .csv with the columns prompt and completion, or text; or a .jsonl with these "
        "keys or messages.",
        show_default=False,
    ),
]


class _Group(PlainGroup):
    """`finetune DATA` means `finetune train DATA`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `train` if the first argument is not a command; `--help` stays the group's."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["train", *args]
        return super().parse_args(ctx, args)


group = typer.Typer(cls=_Group, no_args_is_help=True)


@group.callback()
def finetune() -> None:
    """Train a LoRA adapter on prompts and completions; export one."""


@group.command()
@expand(options=TrainingOptions)
def train(context: typer.Context, data: _Data, options: TrainingOptions) -> None:
    """Train a LoRA adapter on prompts and completions; `finetune DATA` for short."""
    from mistral_cli.finetune import run

    run.finetune(data, options, context.obj)


@group.command()
def export(
    context: typer.Context,
    adapter: Annotated[
        Path,
        typer.Argument(
            metavar="ADAPTER", help="A PEFT folder, or a GGUF adapter.", show_default=False
        ),
    ],
    model: ModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.gguf",
            help="File to write (default: named after the adapter).",
            show_default=False,
        ),
    ] = None,
    merge: Annotated[
        MergedType | None,
        typer.Option(
            "--merge", help="Write the whole model with the adapter merged in, stored as this type."
        ),
    ] = None,
    force: ForceOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a PEFT adapter to GGUF, or merge an adapter into a model."""
    from mistral_cli.finetune.export import export_adapter

    export_adapter(
        adapter, model, output, merge, context.obj, force=force, offline=offline, quiet=quiet
    )
