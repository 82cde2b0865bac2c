"""What `doctor` finds out about the servers that would answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.diagnostics.doctor import Diagnosis, ServerState
from mistral_cli.diagnostics.fixes import Problem
from mistral_cli.errors import MistralCliError

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter


def with_servers(
    diagnosis: Diagnosis,
    addresses: Sequence[str],
    key: str,
    model: str | None,
    reporter: Reporter,
) -> Diagnosis:
    """`diagnosis` of a program whose requests go to servers: only their problems count.

    The model on this machine is not used then.
    """
    from mistral_cli.engines.servers.client import without_secrets

    states, problems = list[ServerState](), list[Problem]()
    for address in addresses:
        try:
            states.append(_state(address, key, model, reporter))
        except MistralCliError as error:
            shown = without_secrets(address)
            states.append(ServerState(shown, error.message, summary=error.message))
            problems.append(Problem(error.message, error.hint, error.exit_code))
    return replace(diagnosis, servers=tuple(states), projection=None, problems=(*problems,))


def _state(address: str, key: str, model: str | None, reporter: Reporter) -> ServerState:
    from mistral_cli.engines.servers.backend import connect, describe

    found = connect([address], key, model, None, reporter)
    (server,) = found.servers
    server.client.close()
    return ServerState(
        server.client.url,
        kind=server.kind.name,
        version=server.facts.version or None,
        model=server.facts.model,
        context_length=server.facts.context_length,
        slots=server.facts.slots,
        prompted_as="chat" if found.model.packed else "tokens",
        summary=describe(server),
    )
