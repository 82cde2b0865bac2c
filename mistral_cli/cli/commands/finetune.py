"""`mistral-cli finetune`: train a LoRA adapter on a table, or export one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mistral_cli.cli.lazy import LazyGroup
from mistral_cli.cli.signature import argument, command
from mistral_cli.finetune.options import ForceOption, MergedType, TrainingOptions
from mistral_cli.system.options import ModelOption, OfflineOption, QuietOption

_TRAIN, _EXPORT = "train", "export"
COMMANDS = {
    _TRAIN: "Train a LoRA adapter on prompts and completions; `finetune DATA` for short.",
    _EXPORT: "Convert a PEFT adapter to GGUF, or merge an adapter into a model.",
}


class FinetuneGroup(LazyGroup):
    """The commands for adapters; `finetune DATA` means `finetune train DATA`."""

    lines = COMMANDS

    @classmethod
    def register(cls, name: str, app: typer.Typer) -> None:
        """Add the command `name` to `app`."""
        if name == _TRAIN:
            app.command(name)(command(train, [_DATA], TrainingOptions, _run))
        else:
            app.command(name)(export)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `train` if the first argument is no command; `--help` stays the group's."""
        if args and args[0] not in (*COMMANDS, *ctx.help_option_names):
            args = [_TRAIN, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the group to the program."""
    app.add_typer(typer.Typer(cls=FinetuneGroup, no_args_is_help=True), name="finetune")


_DATA = argument(
    "data",
    Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A .csv with the columns prompt and completion, or text; or a .jsonl with these "
            "keys or messages.",
            show_default=False,
        ),
    ],
    required=True,
)


def train() -> None:
    """Train a LoRA adapter on prompts and completions; `finetune DATA` for short."""


def _run(_: None, options: TrainingOptions, context: typer.Context, data: Path) -> None:
    from mistral_cli.finetune.run import finetune

    finetune(data, options, context.obj)


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
            "--merge", help="Write the whole model with the adapter merged, in this type."
        ),
    ] = None,
    force: ForceOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a PEFT adapter to GGUF, or merge an adapter into a model."""
    from mistral_cli.finetune.export import export_adapter

    terminal = context.obj
    terminal.quiet = quiet
    export_adapter(adapter, model, output, merge, terminal, force=force, offline=offline)
