"""The HTTP server in front of a served model: it runs in a thread of the process that serves."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mistral_cli.engines.sampling import FileSampling
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.serving.client import ServedSession

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from mistral_cli.models.gguf import GGUF
    from mistral_cli.serving.registry import ServedModel
    from mistral_cli.system.reporter import Reporter

LOOPBACK = "127.0.0.1"

_NEEDED = ("starlette", "uvicorn")
_INSTALL = "pip install 'mistral-cli[http]'"
_GRACE_SECONDS = 0.8
"""For replies to the requests that a stop cancels; the process has 1.2 seconds in all."""

_POLL_SECONDS = 0.005


def check_installed() -> None:
    """Raise UsageError with the install command if a library is missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"--http needs {' and '.join(missing)}", hint=f"Install: {_INSTALL}")


def listen(port: int | None) -> socket.socket:
    """Listen on loopback, at any free port by default. Raises UsageError."""
    try:
        return socket.create_server((LOOPBACK, port or 0))
    except OSError as error:
        raise UsageError(
            f"cannot listen on port {port}: {error.strerror}",
            hint="Choose another --port, or leave it out for a free one.",
        ) from error


@contextlib.contextmanager
def serve_http(
    served: ServedModel, model: GGUF, listener: socket.socket, reporter: Reporter
) -> Iterator[None]:
    """Answer HTTP requests on `listener` with the served `model`; at the end, cancel them."""
    from mistral_cli.serving.http.answering import ServedApi
    from mistral_cli.serving.http.app import http_app
    from mistral_cli.serving.http.streams import AsyncStreams

    FileSampling.of(model).report(reporter)
    session = ServedSession(served, model, served.slots)
    streams = AsyncStreams(session, served.slots)
    api = ServedApi(served.model, int(served.started), model, session, streams)
    with run_app(http_app(api, served.http_key or ""), listener, reporter):
        try:
            yield
        finally:
            streams.stop()


@contextlib.contextmanager
def run_app(app: ASGIApp, listener: socket.socket, reporter: Reporter) -> Iterator[None]:
    """Run an application in a thread. At the end it has a moment for its last replies.

    What the libraries log goes to the `reporter`.
    """
    import uvicorn

    from mistral_cli.serving.http.connection import TimedConnection

    config = uvicorn.Config(
        app,
        http=TimedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True, name="http")
    thread.start()
    log = _LogHandler(reporter)
    logging.getLogger().addHandler(log)
    try:
        while not server.started:
            if not thread.is_alive():
                raise MistralCliError("the HTTP server did not start", hint="Drop --http.")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        server.should_exit = True
        thread.join(_GRACE_SECONDS)
        logging.getLogger().removeHandler(log)


class _LogHandler(logging.Handler):
    """Reports what the libraries log, which Python would print on stderr as it is."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        """Report an exception as one that ends a thread, and anything else as a note."""
        if record.exc_info and record.exc_info[0]:
            ended = (*record.exc_info, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(ended))
        else:
            self._reporter.note(f"HTTP server: {record.getMessage()}")
