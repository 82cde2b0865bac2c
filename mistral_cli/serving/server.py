"""The process that keeps a model loaded: load it, register it, end on request or when idle."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.loader import open_session
from mistral_cli.engines.protocol import ListenAddress, LoadOptions
from mistral_cli.engines.selection import (
    EngineRequirements,
    EngineSelection,
    fit_gpu_layers,
    select_engine,
)
from mistral_cli.errors import ExitCode
from mistral_cli.models.call import CallContext, prepare_call
from mistral_cli.models.context import choose_context_length
from mistral_cli.serving.http.server import check_installed, listen, serve_http
from mistral_cli.serving.registry import Registration, ServedModel, claim, model_identity
from mistral_cli.system.machine import usable_cores
from mistral_cli.system.signals import on_stop, request_stop

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.serving.options import ServeOptions
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal

_CONTEXT = 8192
"""The default context of a slot in tokens, if the model has as many."""

_POLL_SECONDS = 0.5
_WORK_COUNTERS = ("prompt_tokens_total", "tokens_predicted_total", "n_decode_total")


@dataclass(frozen=True)
class _ModelToServe:
    """The model to load, and how to load it."""

    name: str
    file: GGUF
    selection: EngineSelection
    load: LoadOptions


@dataclass(frozen=True)
class _HttpAddress:
    """Where HTTP requests come in, and the key that they need."""

    listener: socket.socket
    api_key: str

    @property
    def url(self) -> str:
        """The base URL for clients."""
        host, port = self.listener.getsockname()
        return f"http://{host}:{port}/v1"


def serve(options: ServeOptions, terminal: Terminal) -> None:
    """Load the model and serve it until SIGTERM, Ctrl-C or the idle timeout; end the process.

    A stop cancels the answers in progress; while there are any, the timeout does not expire.
    Raises MistralCliError.
    """
    http = _http_address(options, terminal)
    call = prepare_call(
        terminal, quiet=options.quiet, verbose=options.verbose, offline=options.offline
    )
    model = _model_to_serve(options, call, terminal)
    with claim(model.file.path) as registration:
        address = ListenAddress(registration.socket, secrets.token_hex(16))
        load = replace(model.load, listening=address)
        terminal.status(f"loading {model.name} …")
        before = model_identity(model.file.path)
        with open_session(model.selection, model.file, load, terminal.warn) as session:
            assert isinstance(session, ServerSession)
            served = _served_model(model, options, address, http, session, before)
            with serve_http(served, model.file, http.listener, terminal) if http else nullcontext():
                _announce(served, terminal)
                registration.publish(served)
                client = LlamaServerClient(address.socket, address.api_key)
                reason = _wait(client, registration, options.idle_timeout)
                terminal.note(f"stopped serving {model.name}: {reason}")
                registration.clear()
            terminal.stderr.flush()
            # Nothing is left to clean up, and closing the server would wait for its streams.
            os._exit(ExitCode.SUCCESS)


def _model_to_serve(options: ServeOptions, call: CallContext, reporter: Reporter) -> _ModelToServe:
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
    return _ModelToServe(
        call.model_name(options.model),
        model,
        selection,
        LoadOptions(context, threads, selection.gpu_layers, options.parallel),
    )


def _http_address(options: ServeOptions, terminal: Terminal) -> _HttpAddress | None:
    """Listen for HTTP if that was requested. Raises UsageError."""
    if not (options.http or options.port):
        return None
    check_installed()
    key = _own_key(terminal) or f"mistral-cli-{secrets.token_urlsafe(24)}"
    return _HttpAddress(listen(options.port), key)


def _own_key(terminal: Terminal) -> str:
    return terminal.env.get("MISTRAL_CLI_API_KEY", "").strip()


def _served_model(
    model: _ModelToServe,
    options: ServeOptions,
    address: ListenAddress,
    http: _HttpAddress | None,
    session: ServerSession,
    file: tuple[int, ...],
) -> ServedModel:
    return ServedModel(
        pid=os.getpid(),
        started=time.time(),
        model=model.name,
        path=str(Path(model.file.path).resolve()),
        file=file,
        engine=model.selection.backend.name,
        engine_pid=session.pid,
        context_length=session.context_length,
        slots=options.parallel,
        gpu_layers=session.gpu_layers,
        threads=model.load.threads,
        knows_grammars=session.knows_grammars,
        idle_seconds=options.idle_timeout,
        api_key=address.api_key,
        http=http.url if http else None,
        http_key=http.api_key if http else None,
    )


def _announce(served: ServedModel, terminal: Terminal) -> None:
    slots = "1 slot" if served.slots == 1 else f"{served.slots} slots"
    terminal.note(
        f"{served.model} is loaded ({slots}, {served.context_length:,} tokens of context each); "
        "the other commands use it automatically"
    )
    if served.http:
        from_env = served.http_key == _own_key(terminal)
        key = "from MISTRAL_CLI_API_KEY" if from_env else served.http_key
        terminal.note(f"OpenAI's API is at {served.http}, API key {key}")


def _wait(client: LlamaServerClient, registration: Registration, idle_seconds: float) -> str:
    """Wait until there is a reason to stop serving, and return it. Raises EngineFailed.

    SIGTERM is one; other stop signals raise StopRequested.
    """
    stop = threading.Event()

    def stop_serving(number: int) -> None:
        if number != signal.SIGTERM:
            request_stop(number)
        stop.set()

    before: list[float] = []
    active = time.monotonic()
    poll = min(_POLL_SECONDS, idle_seconds / 4) if idle_seconds else _POLL_SECONDS
    with on_stop(stop_serving):
        while not stop.wait(poll):
            metrics = client.metrics()
            work = [metrics.get(name, 0.0) for name in _WORK_COUNTERS]
            if work != before or metrics.get("requests_processing"):
                registration.touch()
                before, active = work, time.monotonic()
            elif idle_seconds and time.monotonic() - active >= idle_seconds:
                return f"no work for {idle_seconds:g} seconds"
    return "SIGTERM received"
