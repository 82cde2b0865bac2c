"""`mistral-cli batch status`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.system.options import JsonOption

_Results = Annotated[
    list[str],
    typer.Argument(metavar="RESULTS", help="Results of batches: files, tables or folders."),
]


def status(context: typer.Context, results: _Results, json: JsonOption = False) -> None:
    """Tell how far batches are, whether they run or have ended."""
    from mistral_cli.batch.status import print_status

    print_status(results, context.obj, as_json=json)
