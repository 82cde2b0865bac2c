"""`mistral-cli models`: list, fetch, inspect and remove models; one file for each command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import typer

from mistral_cli.cli.framework import LazyGroup
from mistral_cli.errors import MistralCliError
from mistral_cli.system.reporter import Reporter


class _Models(LazyGroup):
    targets: ClassVar = {
        "list": "mistral_cli.cli.commands.models.list:list_models",
        "pull": "mistral_cli.cli.commands.models.pull:pull",
        "show": "mistral_cli.cli.commands.models.show:show",
        "recommend": "mistral_cli.cli.commands.models.recommend:recommend",
        "path": "mistral_cli.cli.commands.models.path:path",
        "verify": "mistral_cli.cli.commands.models.verify:verify",
        "rm": "mistral_cli.cli.commands.models.rm:remove",
        "alias": "mistral_cli.cli.commands.models.alias:alias",
    }


group = typer.Typer(cls=_Models, no_args_is_help=True)


@group.callback()
def models() -> None:
    """List, fetch, inspect and remove models."""


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
