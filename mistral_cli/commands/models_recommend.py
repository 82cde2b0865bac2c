"""`mistral-cli models recommend`: which model this machine can run."""

from __future__ import annotations

from typing import Any

import typer

from mistral_cli.options import JsonOption


def recommend(context: typer.Context, json: JsonOption = False) -> None:
    """Say which built-in model fits this machine, best first, and why."""
    from mistral_cli.engines.survey import ask_child
    from mistral_cli.machine import available_memory, usable_cores
    from mistral_cli.output.recommendations import print_recommendations
    from mistral_cli.recommend import recommend as find

    found = ask_child()
    free, cores = available_memory(), usable_cores()
    fits = find(free, found.gpus, cores)
    print_recommendations(context.obj, fits, free, found.gpus, cores, as_json=json)


def register(group: Any) -> None:
    """Add the command to `models`."""
    group.command("recommend")(recommend)
