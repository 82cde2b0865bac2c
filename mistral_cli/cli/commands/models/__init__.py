"""`mistral-cli models`: list, download, inspect and remove models."""

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
        "path": "mistral_cli.cli.commands.models.list:path",
        "verify": "mistral_cli.cli.commands.models.verify:verify",
        "rm": "mistral_cli.cli.commands.models.rm:remove",
        "alias": "mistral_cli.cli.commands.models.alias:alias",
    }


group = typer.Typer(cls=_Models, no_args_is_help=True)


@group.callback()
def models() -> None:
    """List, download, inspect and remove models."""


class Failures:
    """Reports the error of one model and continues with the next; the first sets the exit code."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._exit_code = 0

    @contextmanager
    def collect(self, row: dict[str, Any]) -> Iterator[None]:
        """Report an error in the block on stderr, and store its message in `row["error"]`."""
        row["error"] = None
        try:
            yield
        except MistralCliError as error:
            self._reporter.error(error.message, error.hint, error.details)
            row["error"] = error.message
            self._exit_code = self._exit_code or error.exit_code

    def exit_if_any(self) -> None:
        """Exit with the code of the first failure, if there was one."""
        if self._exit_code:
            raise typer.Exit(self._exit_code)
