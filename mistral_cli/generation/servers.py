"""`--server URL`: the servers of a run, and the options that have no effect on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mistral_cli.engines.selection import EngineSelection
from mistral_cli.engines.servers.key import chosen_addresses, server_key
from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.engines.servers.backend import ConnectedServers
    from mistral_cli.generation.config import GenerationConfig
    from mistral_cli.generation.options import TaskOptions
    from mistral_cli.system.config import Config
    from mistral_cli.system.reporter import Reporter


def server_addresses(options: TaskOptions, config: Config) -> tuple[str, ...]:
    """The addresses of the servers that answer; empty if this machine does.

    An engine that is named with `--engine` answers itself, whatever the configuration has.
    """
    return chosen_addresses(options.server, () if options.engine else config.servers)


def find_servers(
    addresses: tuple[str, ...],
    options: TaskOptions,
    config: Config,
    reporter: Reporter,
    env: Mapping[str, str] = os.environ,
) -> ConnectedServers:
    """Connect to the servers. Raises UsageError for options that they cannot have."""
    _refuse_local_options(options)
    from mistral_cli.engines.servers.backend import connect

    key = server_key(config, env)
    return connect(addresses, key, options.model, options.context_length, reporter)


def report_unsupported(
    connected: ConnectedServers, generation: GenerationConfig, reporter: Reporter
) -> None:
    """Warn of settings of the user that a server does not have; name the others with -v."""
    sampling = generation.sampling
    for server in connected.servers:
        names = server.kind.unsupported(sampling)
        fixed = [name for name in names if generation.fixes(name)]
        others = [name for name in names if name not in fixed]
        where = f"{server.client.name} ({server.kind.name})"
        if fixed:
            reporter.warn(f"{where} does not have these settings: {', '.join(fixed)}")
        if others:
            reporter.info(f"{where} does not get these settings: {', '.join(others)}")


def selection_of_servers(connected: ConnectedServers) -> EngineSelection:
    """The selection of an engine that is elsewhere."""
    names = ", ".join(each.client.name for each in connected.servers)
    return EngineSelection(
        connected.backend, f"named by --server: {names}", 0, "the servers compute"
    )


def _refuse_local_options(options: TaskOptions) -> None:
    """Raise UsageError for options about loading a model, which the server has done."""
    local = {
        "--engine": options.engine not in (None, "auto"),
        "--lora": bool(options.lora),
        "--gpu-layers": not options.gpu_layers.automatic,
        "--require-gpu": options.require_gpu,
        "--threads": options.threads is not None,
        "--lookup": getattr(options, "lookup", False),
        "--draft-model": getattr(options, "draft_model", None) is not None,
    }
    if wrong := next((name for name, is_set in local.items() if is_set), None):
        raise UsageError(
            f"{wrong} is about loading a model, which the server has done already",
            hint=f"Drop {wrong}, or start the server accordingly.",
        )
