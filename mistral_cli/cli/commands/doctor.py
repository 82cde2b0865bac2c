"""`mistral-cli doctor`: what is installed here, how the model would run, how to fix problems."""

from __future__ import annotations

from typing import Annotated

import typer

from mistral_cli.system.options import JsonOption, ModelOption, ServerOption

RequireGpu = Annotated[
    bool, typer.Option("--require-gpu", help="Fail if no layer would run on a GPU.")
]


def doctor(
    context: typer.Context,
    model: ModelOption = None,
    server: ServerOption = None,
    require_gpu: RequireGpu = False,
    json: JsonOption = False,
) -> None:
    """Check whether the default model can run here, and how to fix any problem.

    Loads no model, and uses the network only to ask the servers of --server or of the
    configuration. Exits with 0 if the model can run, now or after
    `models pull`, otherwise with the exit code of the problem.
    """
    from mistral_cli.diagnostics.doctor import diagnose
    from mistral_cli.diagnostics.doctor_report import print_diagnosis
    from mistral_cli.engines.hardware.probe import probe_in_child
    from mistral_cli.engines.servers.key import chosen_addresses, server_key
    from mistral_cli.system.config import load_config
    from mistral_cli.system.machine import CpuTimes

    began = CpuTimes.now()
    config = load_config(context.obj.env)
    reference = model or config.model
    diagnosis = diagnose(reference, config, probe_in_child(), require_gpu=require_gpu, began=began)
    if addresses := chosen_addresses(server, config.servers):
        from mistral_cli.diagnostics.servers import with_servers

        key = server_key(config, context.obj.env)
        diagnosis = with_servers(diagnosis, addresses, key, model, context.obj)
    print_diagnosis(context.obj, diagnosis, as_json=json)
    if diagnosis.exit_code:
        raise typer.Exit(diagnosis.exit_code)
