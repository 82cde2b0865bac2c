"""`mistral-cli finetune export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mistral_cli.finetune.merged_type import MergedType
from mistral_cli.finetune.options import Force
from mistral_cli.system.options import ModelOption, OfflineOption, QuietOption


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(export)


def export(
    context: typer.Context,
    adapter: Annotated[
        Path,
        typer.Argument(
            metavar="ADAPTER", help="A folder of PEFT's, or an adapter in GGUF.", show_default=False
        ),
    ],
    model: ModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.gguf",
            help="What to write (default: the adapter's name).",
            show_default=False,
        ),
    ] = None,
    merge: Annotated[
        MergedType | None,
        typer.Option("--merge", help="Write the whole model with the adapter in it, so stored."),
    ] = None,
    force: Force = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn a PEFT adapter into a GGUF one, or merge an adapter into a model."""
    from mistral_cli.finetune.export import export_adapter

    terminal = context.obj
    terminal.quiet = quiet
    export_adapter(adapter, model, output, merge, terminal, force=force, offline=offline)
