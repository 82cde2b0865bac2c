"""`mistral-cli models`: what is here, what can be had, and what a file is.

Each module has `register(group)`; a new one costs a file and a line here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from mistral_cli.cli.lazy import LazyGroup
from mistral_cli.errors import MistralCliError
from mistral_cli.system.reporter import Reporter

COMMANDS = {
    "list": "List the aliases and the GGUF files that are here.",
    "pull": "Download models, check the files, and print their paths.",
    "show": "Print what a model is and what it needs; of a hub's file only the header is read.",
    "recommend": "Say which built-in model fits this machine, best first, with the arithmetic.",
    "path": "Print where a model's file is; fail if it is not on this machine.",
    "verify": "Compare the SHA-256 of local files with what was published.",
    "rm": "Remove models from this machine, and print the paths that are gone.",
    "alias": "Name a model in config.toml; without arguments, list your aliases.",
}


class Models(LazyGroup):
    """The commands about models."""

    lines = COMMANDS
    package = __name__


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(typer.Typer(cls=Models, no_args_is_help=True), name="models")


class Failures:
    """Errors of one model that must not stop the others: shown at once, remembered for the end."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._exit_code = 0

    @contextmanager
    def kept(self, row: dict[str, Any]) -> Iterator[None]:
        """Turn an error into a message on stderr and `row["error"]`."""
        row["error"] = None
        try:
            yield
        except MistralCliError as error:
            self._reporter.error(error.message, error.hint, error.details)
            row["error"] = error.message
            self._exit_code = self._exit_code or error.exit_code

    def end(self) -> None:
        """End the command with the exit code of the first failure, if there was one."""
        if self._exit_code:
            raise typer.Exit(self._exit_code)
