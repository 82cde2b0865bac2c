"""`mistral-cli models recommend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mistral_cli.errors import MistralCliError
from mistral_cli.system.options import JsonOption

if TYPE_CHECKING:
    from mistral_cli.diagnostics.recommend import Fit


def recommend(
    context: typer.Context,
    json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only the name of the best model.")
    ] = False,
) -> None:
    """List the built-in models by the memory they need, and name the best one for this machine."""
    from mistral_cli.diagnostics.recommend import recommend as rank
    from mistral_cli.diagnostics.recommend_report import print_recommendations
    from mistral_cli.engines.hardware.probe import probe_in_child
    from mistral_cli.system.stdout import write

    hardware = probe_in_child()
    fits = rank(hardware)
    if quiet and not json:
        write(context.obj, f"{_best(fits)}\n")
        return
    print_recommendations(context.obj, fits, hardware, as_json=json)


def _best(fits: Sequence[Fit]) -> str:
    if fits[0].shortfall:
        raise MistralCliError(
            "no built-in model fits into the free memory of this machine",
            hint="`mistral-cli models recommend` shows how much memory each one lacks.",
        )
    return fits[0].entry.alias
