"""The process that keeps a model loaded: load it, let others find it, end when asked or idle."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.loader import open_session
from mistral_cli.engines.protocol import LOOPBACK, ListenAddress, LoadOptions
from mistral_cli.engines.selection import (
    EngineRequirements,
    EngineSelection,
    fit_gpu_layers,
    select_engine,
)
from mistral_cli.errors import ExitCode
from mistral_cli.models.call import CallContext, prepare_call
from mistral_cli.models.context import choose_context_length
from mistral_cli.serving.registry import Place, Served, identity, taken
from mistral_cli.system.machine import usable_cores

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.serving.options import ServeOptions
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal

_CONTEXT = 8192
"""Tokens of context that a slot has by default, where the model has as many."""

_LOOK_SECONDS = 0.5
_AT_WORK = ("prompt_tokens_total", "tokens_predicted_total", "n_decode_total")


@dataclass(frozen=True)
class _Model:
    """What is to be loaded, and how."""

    name: str
    file: GGUF
    selection: EngineSelection
    load: LoadOptions


def serve(options: ServeOptions, terminal: Terminal) -> None:
    """Load the model and serve it until SIGTERM, Ctrl-C or the idle time-out.

    Answers that are under way then are cancelled; while there are any, no time-out comes.
    Ends the process then. Raises MistralCliError.
    """
    call = prepare_call(
        terminal, quiet=options.quiet, verbose=options.verbose, offline=options.offline
    )
    model = _settle(options, call, terminal)
    with taken(model.file.path) as place_, _asked_to_end() as asked:
        listening, key = _listening(place_, model.name, options, terminal)
        load = replace(model.load, listening=listening)
        terminal.status(f"loading {model.name} …")
        before = identity(model.file.path)
        with open_session(model.selection, model.file, load, terminal.warn) as engine:
            assert isinstance(engine, ServerSession)
            served = _served(model, options, listening, key, engine, before)
            _say(served, terminal)
            place_.publish(served)
            client = LlamaServerClient(listening.socket, listening.api_keys[0])
            reason = _until_the_end(client, place_, options.idle_timeout, asked)
            terminal.note(f"{model.name} is served no more: {reason}")
            place_.clear()
            terminal.stderr.flush()
            # Nothing is left to be tidied, and to be freed the server would wait for its streams.
            os._exit(ExitCode.SUCCESS)


def _settle(options: ServeOptions, call: CallContext, reporter: Reporter) -> _Model:
    engine = options.engine or call.config.engine
    wanted = EngineRequirements(engine, options.gpu_layers, options.require_gpu, listening=True)
    wanted.check()
    model = call.read_model(options.model)
    selection = select_engine(wanted, model)
    reporter.info(f"engine {selection.backend.name}: {selection.reason}")
    context = choose_context_length(model, options.context_length, _CONTEXT, reporter)
    selection = fit_gpu_layers(selection, model, context, options.parallel)
    if selection.warning:
        reporter.warn(selection.warning)
    threads = options.threads or usable_cores()
    return _Model(
        call.model_name(options.model),
        model,
        selection,
        LoadOptions(context, threads, selection.gpu_layers, options.parallel),
    )


def _listening(
    place_: Place, name: str, options: ServeOptions, terminal: Terminal
) -> tuple[ListenAddress, str | None]:
    """Where the server shall listen, and the key for HTTP if anybody may come that way."""
    own = secrets.token_hex(16)
    if not (options.http or options.port):
        return ListenAddress(place_.socket, (own,)), None
    key = terminal.env.get("MISTRAL_CLI_API_KEY") or f"mistral-cli-{secrets.token_urlsafe(24)}"
    return ListenAddress(place_.socket, (own, key), options.port or _free_port(), name), key


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _served(
    model: _Model,
    options: ServeOptions,
    listening: ListenAddress,
    key: str | None,
    engine: ServerSession,
    file: tuple[int, int, int],
) -> Served:
    return Served(
        pid=os.getpid(),
        started=time.time(),
        model=model.name,
        path=str(Path(model.file.path).resolve()),
        file=file,
        engine=model.selection.backend.name,
        engine_pid=engine.pid,
        context_length=engine.context_length,
        slots=options.parallel,
        gpu_layers=engine.gpu_layers,
        threads=model.load.threads,
        knows_grammars=engine.knows_grammars,
        idle_seconds=options.idle_timeout,
        api_key=listening.api_keys[0],
        http=f"http://{LOOPBACK}:{listening.port}/v1" if key else None,
        http_key=key,
    )


def _say(served: Served, terminal: Terminal) -> None:
    slots = "1 answer" if served.slots == 1 else f"{served.slots} answers"
    terminal.note(
        f"{served.model} is loaded: {slots} at once, {served.context_length:,} tokens of "
        f"context each; generate, translate, summarize and json-extract use it by themselves"
    )
    if served.http:
        given = served.http_key == terminal.env.get("MISTRAL_CLI_API_KEY")
        shown = "from MISTRAL_CLI_API_KEY" if given else served.http_key
        terminal.note(f"OpenAI's API is at {served.http}, API key {shown}")


@contextlib.contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """An event that is set when SIGTERM comes. Ctrl-C interrupts as always."""
    asked = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)


def _until_the_end(
    client: LlamaServerClient, place_: Place, idle_seconds: float, asked: threading.Event
) -> str:
    """Wait until there is a reason to end, and return it. Raises EngineFailed."""
    before: list[float] = []
    active = time.monotonic()
    look = min(_LOOK_SECONDS, idle_seconds / 4) if idle_seconds else _LOOK_SECONDS
    while not asked.wait(look):
        now = client.metrics()
        work = [now.get(name, 0.0) for name in _AT_WORK]
        if work != before or now.get("requests_processing"):
            place_.touch()
            before, active = work, time.monotonic()
        elif idle_seconds and time.monotonic() - active >= idle_seconds:
            return f"no work for {idle_seconds:g} seconds"
    return "it was asked to end"
