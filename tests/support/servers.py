"""Connections to scripted servers, without the program around them."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.servers.backend import ConnectedServers, connect
from mistral_cli.engines.servers.balance import Patience
from mistral_cli.engines.servers.client import Timeouts
from mistral_cli.engines.servers.session import RemoteSession
from mistral_cli.engines.types import Finish, Request, Sampling, TextDelta
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import encode, encode_raw
from mistral_cli.system.terminal import Terminal
from support.scripted_server import ScriptedServer

QUICK = Timeouts(connect=2.0, first=2.0, idle=0.15)
GREEDY = Sampling(temperature=0.0, top_k=1, top_p=1.0, repetition_penalty=1.0, seed=1)


def quiet_terminal() -> Terminal:
    """A terminal whose stderr can be read: `terminal.stderr.getvalue()`."""
    return Terminal(None, sys.stdout, io.StringIO(), verbose=True)


def connected(
    *servers: ScriptedServer,
    key: str = "",
    name: str | None = None,
    timeouts: Timeouts = QUICK,
    patience: float = 0.3,
    terminal: Terminal | None = None,
    context: int | None = None,
) -> ConnectedServers:
    """A connection that gives up soon."""
    urls = [each.url for each in servers]
    reporter = terminal or quiet_terminal()
    return connect(
        urls,
        key,
        name,
        context,
        reporter,
        timeouts=timeouts,
        patience=Patience(patience, 0.01, 0.05),
    )


def opened(found: ConnectedServers) -> RemoteSession:
    """An open session."""
    options = LoadOptions(found.model.context_length, threads=1)
    session = found.backend.open(found.model, options)
    assert isinstance(session, RemoteSession)
    return session


def asking(
    session: RemoteSession,
    found: ConnectedServers,
    text: str | Sequence[Message],
    max_tokens: int = 16,
    *,
    raw: bool = False,
    stream: bool = False,
    sampling: Sampling = GREEDY,
) -> Request:
    """The request about a text, in the model's format."""
    if raw:
        assert isinstance(text, str)
        ids = encode_raw(text, found.model, session.tokenize)
    else:
        messages = [Message("user", text)] if isinstance(text, str) else text
        ids = encode(messages, found.model, session.tokenize)
    return Request(tuple(ids), max_tokens, sampling, stream=stream)


def answer(session: RemoteSession, request: Request, timeout: float | None = None) -> str:
    """The text of an answer that is complete."""
    events = list(session.stream(request, timeout))
    assert isinstance(events[-1], Finish)
    return "".join(each.text for each in events if isinstance(each, TextDelta))
