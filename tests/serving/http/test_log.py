"""What the HTTP libraries log reaches the person at stderr as our own messages do."""

from __future__ import annotations

import http.client
import logging
import threading
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.terminals import make_terminal, shown

from mistral_cli.cli.app import report_unhandled
from mistral_cli.serving.http.server import listen, run_app

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

FORGED = "\x1b[31mred\nmistral-cli: error: forged"


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError(FORGED)


def test_an_unexpected_error_is_one_message(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.delenv("MISTRAL_CLI_DEBUG", raising=False)
    terminal, listener = make_terminal(), listen(None)
    report_unhandled(terminal)
    with run_app(failing, listener, terminal):
        with closing(http.client.HTTPConnection(*listener.getsockname(), timeout=30)) as client:
            client.request("GET", "/")
            assert client.getresponse().status == 500
        logging.getLogger("asyncio").warning("%s", FORGED)
    error, hint, note = shown(terminal).splitlines()
    assert error == r"mistral-cli: error: RuntimeError: \x1b[31mred\nmistral-cli: error: forged"
    assert "MISTRAL_CLI_DEBUG=1" in hint
    assert note == r"mistral-cli: HTTP server: \x1b[31mred\nmistral-cli: error: forged"
    assert capfd.readouterr().err == ""
