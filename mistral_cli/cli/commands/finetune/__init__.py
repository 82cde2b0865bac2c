"""`mistral-cli finetune`: train an adapter on a table, or export one.

Each module has `register(group)`; a new one costs a file and a line here.
"""

from __future__ import annotations

from typing import Any

import typer

from mistral_cli.cli.lazy import LazyGroup

_TRAIN = "train"
COMMANDS = {
    _TRAIN: "Train a LoRA adapter on prompts and completions; `finetune DATA` for short.",
    "export": "Turn a PEFT adapter into a GGUF one, or merge an adapter into a model.",
}


class Finetune(LazyGroup):
    """The commands about adapters; `finetune DATA` is `finetune train DATA`."""

    lines = COMMANDS
    package = __name__

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the command where it is left out; `--help` is about all of them."""
        if args and args[0] not in (*COMMANDS, *ctx.help_option_names):
            args = [_TRAIN, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(typer.Typer(cls=Finetune, no_args_is_help=True), name="finetune")
