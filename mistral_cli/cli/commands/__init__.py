"""The subcommands. Each module has `register(app)`; a new one costs a file and a line here."""

from __future__ import annotations

import typer

from mistral_cli.cli.commands.tasks import TASKS, register_one_off
from mistral_cli.cli.lazy import LazyGroup

COMMANDS = {
    "batch": "Run a task for many texts; resumes by itself.",
    "finetune": "Train a LoRA adapter on prompts and completions; export one.",
    "serve": "Load a model and keep it: the other commands find and use it by themselves.",
    "models": "List, fetch, inspect and remove models.",
    "prompts": "List and show prompt templates.",
    "cache": "List and delete what is kept of prompts that were read.",
    "doctor": "Say whether the default model can run here, and how to mend what is wrong.",
    "bench": "Measure how fast a model loads, reads and writes here, and its memory.",
}


class Commands(LazyGroup):
    """The tasks, and the other subcommands."""

    lines = TASKS | COMMANDS
    package = "mistral_cli.cli.commands"

    @classmethod
    def register(cls, name: str, app: typer.Typer) -> None:
        """Add the command `name` to `app`."""
        if name in TASKS:
            register_one_off(name, app)
        else:
            super().register(name, app)
