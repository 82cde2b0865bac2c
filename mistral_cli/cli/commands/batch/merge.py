"""`mistral-cli batch merge`."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.batch.merge import MergeOptions
from mistral_cli.cli.framework import expand

_Results = Annotated[
    list[str],
    typer.Argument(metavar="RESULTS", help="Results of batches: files, tables or folders."),
]


@expand(options=MergeOptions)
def merge(context: typer.Context, results: _Results, options: MergeOptions) -> None:
    """Join the results of shards, and check that each row has one."""
    from mistral_cli.batch.merge import merge_results

    merge_results(results, options, context.obj)
