"""The engine `server`: finds out what servers and models there are, and opens sessions on them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.hardware.memory import Memory
from mistral_cli.engines.protocol import Backend, LoadOptions, Session
from mistral_cli.engines.servers.balance import Patience, Server, ServerPool
from mistral_cli.engines.servers.client import ServerClient, Timeouts
from mistral_cli.engines.servers.facts import UNKNOWN_CONTEXT, Fields
from mistral_cli.engines.servers.kinds import recognize
from mistral_cli.engines.servers.session import RemoteSession
from mistral_cli.engines.servers.trouble import ServerTrouble, ServerUnusable, understood
from mistral_cli.errors import MistralCliError, ModelNotAvailable, UsageError
from mistral_cli.models.chat.formats import is_v1_vocabulary
from mistral_cli.models.remote import RemoteModel, Rendered

if TYPE_CHECKING:
    from mistral_cli.engines.servers.facts import ServedFacts, ServerTokenizer
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

_SECONDS = 30.0
_SHOWN_MODELS = 20


class Servers(Backend):
    """One server or several that have a model loaded already."""

    name = "server"
    remote = True
    dry = True  # on some; what a server does not have is named when it is found out

    def __init__(self, pool: ServerPool) -> None:
        self.pool = pool
        self.max_parallel = pool.most

    def missing(self) -> str | None:
        """Nothing: they have been found."""
        return None

    def no_gpu(self) -> str | None:
        """The servers compute."""
        return "the servers compute"

    def memory(
        self,
        model: GGUF,  # noqa: ARG002
        context_length: int,  # noqa: ARG002
        gpu_layers: int,  # noqa: ARG002
        parallel: int = 1,  # noqa: ARG002
    ) -> Memory:
        """None of this machine's."""
        return Memory(0, 0, 0, 0, 0, 0)

    def open(self, model: GGUF, options: LoadOptions) -> Session:
        """A session; closing it closes the connections."""
        assert isinstance(model, RemoteModel)
        return RemoteSession(self.pool, model, options.context_length, self.pool.warn)


@dataclass(frozen=True)
class ConnectedServers:
    """The `model` that all servers have, and the `backend` that opens it."""

    model: RemoteModel
    backend: Servers
    servers: tuple[Server, ...]

    def lines(self) -> list[str]:
        """What was found out, a line for each server."""
        return [describe(each) for each in self.servers]


def describe(server: Server) -> str:
    """What was found out about a server, in one line."""
    facts, kind = server.facts, server.kind
    context = f"{facts.context_length} tokens" if facts.context_length else "unknown"
    parts = [
        f"{server.client.name}: {kind.name}{f' {facts.version}' if facts.version else ''}",
        f"model {facts.model}",
        f"context {context}",
        f"prompts as {'tokens' if facts.tokenizer else 'chat'}",
        _slots(facts.slots) if facts.slots else f"up to {server.most} requests at once",
    ]
    return ", ".join(parts)


def _slots(number: int) -> str:
    return "1 slot" if number == 1 else f"{number} slots"


def connect(
    urls: Sequence[str],
    key: str,
    name: str | None,
    context_length: int | None,
    reporter: Reporter,
    *,
    timeouts: Timeouts | None = None,
    patience: Patience | None = None,
) -> ConnectedServers:
    """Find out about the servers at `urls`, and about the model `name` or the only one they have.

    With several servers those that do not answer are left out, with a warning, as long as one
    does. Raises UsageError for a model that is not there or not the same, ServerTrouble.
    """
    servers, addresses = list[Server](), list[str]()
    troubles, missing = list[ServerTrouble](), list[ServerClient]()
    patience = patience or Patience()
    for url in urls:
        client = ServerClient(url, key, timeouts)
        if client.url in addresses:
            continue
        addresses.append(client.url)
        if key and not client.is_local and client.url.startswith("http:"):
            reporter.warn(f"the API key goes to {client.name} without encryption: use https")
        try:
            server = _described_in_time(client, name, patience)
        except ServerTrouble as trouble:
            troubles.append(trouble)
            if not isinstance(trouble, ServerUnusable):
                missing.append(client)
            continue
        reporter.info(describe(server))
        servers.append(server)
    first_trouble = [] if servers else [troubles.pop(0)]
    for each in troubles:
        reporter.warn(f"a server is left out for now: {each.message}")
    if first_trouble:
        raise first_trouble[0]
    found = _together(servers, context_length, reporter, patience)
    for client in missing:
        _recruit(client, name, found, patience)
    return found


def _recruit(
    client: ServerClient, name: str | None, found: ConnectedServers, patience: Patience
) -> None:
    """Let a server that does not answer yet help later, if it has the same model then."""
    pool, first = found.backend.pool, found.servers[0]

    def join() -> Server | None:
        try:
            server = _described(client, name)
        except ServerTrouble as trouble:
            if isinstance(trouble, ServerUnusable):
                return None
            raise
        except MistralCliError:
            return None
        if problem := _misfit(found.model, first.facts, server.facts):
            pool.warn(f"{client.name} is left out: {problem}")
            return None
        return server

    pool.recruit(join, patience.longest)


def _misfit(model: RemoteModel, known: ServedFacts, facts: ServedFacts) -> str | None:
    """Why a server with these `facts` cannot answer for `model`, if it cannot."""
    if problem := _difference(known, facts):
        return f"it has another model: {problem}"
    if not model.packed and facts.tokenizer is None:
        return "it does not tokenize"
    if facts.context_length and facts.context_length < model.context_length:
        return f"its context has {facts.context_length} tokens"
    return None


def _check_again(server: Server, model: RemoteModel) -> None:
    """Raise ServerUnusable if a server that was gone has another model."""
    try:
        facts = _described(server.client, server.facts.model).facts
    except ModelNotAvailable as error:
        raise ServerUnusable(error.message, hint=error.hint) from error
    if problem := _misfit(model, server.facts, facts):
        raise ServerUnusable(
            f"{server.client.name} was restarted: {problem}",
            hint="Give servers with the same model.",
        )


def _described_in_time(client: ServerClient, name: str | None, patience: Patience) -> Server:
    """The same as `_described`, from a server that may still be loading its model."""
    deadline = time.monotonic() + patience.seconds
    while True:
        try:
            return _described(client, name)
        except ServerTrouble as trouble:
            wait = max(trouble.after or 0.0, patience.pause)
            if not trouble.overloaded or time.monotonic() + wait > deadline:
                raise
        time.sleep(wait)


def _described(client: ServerClient, name: str | None) -> Server:
    """What there is to know about a server and its model. Raises MistralCliError."""
    with understood(client.name):
        return _asked(client, name)


def _asked(client: ServerClient, name: str | None) -> Server:
    reply = client.get("/v1/models", _SECONDS)
    data = reply.get("data") if isinstance(reply, dict) else None
    listed = [each for each in data or () if isinstance(each, dict) and _id(each)]
    if not listed:
        raise ServerUnusable(
            f"{client.name} lists no models",
            hint="Load a model there, and check the address: it must speak OpenAI's API.",
        )
    kind = recognize(client, listed)
    entry = _entry(client, listed, name)
    return Server(client, kind, kind.describe(client, _id(entry), entry))


def _entry(client: ServerClient, listed: Sequence[Fields], name: str | None) -> Fields:
    names = [_id(each) for each in listed]
    if name is None:
        if len(listed) == 1:
            return listed[0]
        raise UsageError(
            f"{client.name} has {len(listed)} models", hint=f"Choose one with -m: {_shown(names)}."
        )
    for each in listed:
        if name in (_id(each), _short(_id(each)), *map(str, each.get("aliases") or ())):
            return each
    tagged = [each for each in listed if _id(each) == f"{name}:latest"]  # as ollama completes it
    if tagged:
        return tagged[0]
    raise ModelNotAvailable(
        f"{client.name} does not have the model {name!r}", hint=f"It has {_shown(names)}."
    )


def _together(
    servers: Sequence[Server], context_length: int | None, reporter: Reporter, patience: Patience
) -> ConnectedServers:
    """The model of all servers. Raises UsageError if they do not have the same."""
    first, *others = servers
    for other in others:
        if problem := _difference(first.facts, other.facts):
            raise UsageError(
                f"{first.client.name} and {other.client.name} have different models: {problem}",
                hint="Give servers with the same model, or only one of them.",
            )
    known = [each.facts.context_length for each in servers if each.facts.context_length]
    if not known:
        reporter.note(
            f"the server does not tell its context: {context_length or UNKNOWN_CONTEXT} tokens are "
            "assumed (-c sets it)"
        )
    context = min(known) if known else context_length or UNKNOWN_CONTEXT
    told = set[str].intersection(*(set(each.facts.identity) for each in servers))
    identity = {name: first.facts.identity[name] for name in sorted(told)}
    pool = ServerPool(servers, patience, reporter.warn, lambda each: _check_again(each, model))
    takes_tokens = all(each.facts.tokenizer for each in servers)
    model = (
        _of_tokens(first, pool, context, identity)
        if takes_tokens
        else RemoteModel.of_messages(_short(first.facts.model), context, identity)
    )
    return ConnectedServers(model, Servers(pool), tuple(servers))


def _of_tokens(
    first: Server, pool: ServerPool, context: int, identity: Mapping[str, Any]
) -> RemoteModel:
    """The model, whose functions ask any server that works."""
    facts, tokenizer = first.facts, first.facts.tokenizer
    assert tokenizer

    def detokenized(ids: Sequence[int]) -> str:
        return pool.call(lambda server: _tokenizer(server).detokenize(ids))

    def rendered(turns: list[dict[str, Any]], variables: Mapping[str, Any]) -> str:
        return pool.call(lambda server: _renderer(server)(turns, variables))

    return RemoteModel.of_tokens(
        _short(facts.model),
        context,
        identity,
        tokenizer=tokenizer.model,
        controls=tokenizer.controls,
        detokenized=detokenized,
        chat_template=facts.chat_template,
        rendered=rendered if facts.rendered else None,
        bos=tokenizer.bos,
        eos=tokenizer.eos,
        adds_bos=tokenizer.adds_bos,
        has_v1_vocabulary=tokenizer.model == "llama" and is_v1_vocabulary(tokenizer.tokenize),
    )


def _tokenizer(server: Server) -> ServerTokenizer:
    assert server.facts.tokenizer
    return server.facts.tokenizer


def _renderer(server: Server) -> Rendered:
    assert server.facts.rendered
    return server.facts.rendered


def _difference(one: ServedFacts, other: ServedFacts) -> str | None:
    if _short(one.model) != _short(other.model):
        return f"{_short(one.model)} and {_short(other.model)}"
    for name in sorted(set(one.identity) & set(other.identity)):
        if one.identity[name] != other.identity[name]:
            return f"{name} is {one.identity[name]} and {other.identity[name]}"
    return None


def _short(model: str) -> str:
    """The name of a model that is known by its file: servers may keep it in different folders."""
    return PurePosixPath(model).name if model.endswith(".gguf") else model


def _id(entry: Fields) -> str:
    return str(entry.get("id") or "")


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_MODELS} more" if len(names) > _SHOWN_MODELS else ""
    return ", ".join(names[:_SHOWN_MODELS]) + more
