"""`mistral-cli models recommend`."""

from __future__ import annotations

import typer

from mistral_cli.options import JsonOption


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command()(recommend)


def recommend(context: typer.Context, json: JsonOption = False) -> None:
    """Say which built-in model fits this machine, best first, with the arithmetic."""
    from mistral_cli.engines.survey import ask_child
    from mistral_cli.output.recommendations import print_recommendations
    from mistral_cli.recommend import Machine
    from mistral_cli.recommend import recommend as fits_of

    machine = Machine.this(ask_child())
    print_recommendations(context.obj, fits_of(machine), machine, as_json=json)
