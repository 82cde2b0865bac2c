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
        bool, typer.Option("-q", "--quiet", help="Print the best one's name only.")
    ] = False,
) -> None:
    """Say which built-in model fits this machine, best first, with the arithmetic."""
    from mistral_cli.diagnostics.recommend import Machine
    from mistral_cli.diagnostics.recommend import recommend as fits_of
    from mistral_cli.diagnostics.recommend_report import print_recommendations
    from mistral_cli.engines.hardware.probe import ask_child
    from mistral_cli.system.stdout import write

    machine = Machine.this(ask_child())
    fits = fits_of(machine)
    if quiet and not json:
        write(context.obj, f"{_best(fits)}\n")
        return
    print_recommendations(context.obj, fits, machine, as_json=json)


def _best(fits: Sequence[Fit]) -> str:
    if fits[0].lacking:
        raise MistralCliError(
            "no built-in model fits into the memory that is free here",
            hint="`mistral-cli models recommend` shows what each lacks.",
        )
    return fits[0].entry.reference
