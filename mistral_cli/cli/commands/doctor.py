"""`mistral-cli doctor`: what is installed and seen here, what would be used, and why not more."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.system.options import JsonOption, ModelOption

RequireGpu = Annotated[
    bool, typer.Option("--require-gpu", help="Fail where the CPU would have to compute.")
]


def doctor(
    context: typer.Context,
    model: ModelOption = None,
    require_gpu: RequireGpu = False,
    json: JsonOption = False,
) -> None:
    """Say whether the default model can run here, and how to mend what is wrong.

    Loads nothing and asks no network. Exits with 0 where the model can run, now or after
    `models pull`, else with the code of the reason.
    """
    from mistral_cli.diagnostics.doctor import diagnose
    from mistral_cli.diagnostics.doctor_report import print_diagnosis
    from mistral_cli.engines.hardware.probe import ask_child
    from mistral_cli.system.config import load_config

    config = load_config(context.obj.env)
    reference = model or config.model
    found = diagnose(reference, config, ask_child(), require_gpu=require_gpu)
    print_diagnosis(context.obj, found, as_json=json)
    if found.exit_code:
        raise typer.Exit(found.exit_code)
