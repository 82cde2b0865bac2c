"""Clients that send or read slowly, on a server that runs in this process."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from support.http_api import KEY, RecordingSession, api_of, until
from support.terminals import make_terminal

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Event, Request
from mistral_cli.errors import EngineFailed
from mistral_cli.models.gguf import read_gguf
from mistral_cli.serving.http import answering, connection
from mistral_cli.serving.http.app import http_app
from mistral_cli.serving.http.server import listen, run_app

HEAD = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"


class FailingEngine(RecordingSession):
    """Fails at the end of each answer, and counts the streams that are running."""

    running = 0

    def stream(self, request: Request) -> Generator[Event, None, None]:
        self.running += 1
        try:
            yield from super().stream(request)
            raise EngineFailed("the engine has failed", hint="")
        finally:
            self.running -= 1


@pytest.fixture
def engine(mistral: Path) -> Iterator[FailingEngine]:
    with open_tokenizer(backend("llama.cpp"), read_gguf(mistral)) as tokenizer:
        yield FailingEngine(tokenizer)


@pytest.fixture
def address(engine: FailingEngine, mistral: Path) -> Iterator[tuple[str, int]]:
    listener = listen(None)
    name: tuple[str, int] = listener.getsockname()
    with run_app(
        http_app(api_of(read_gguf(mistral), engine, slots=1), KEY), listener, make_terminal()
    ):
        yield name


def reply_to(address: tuple[str, int], sent: str) -> bytes:
    """All that the server sends until it closes the connection."""
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(sent.encode())
        parts = iter(lambda: client.recv(1 << 16), b"")
        return b"".join(parts)


def test_a_head_that_does_not_arrive_ends_the_connection(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.3)
    for sent in ("", "POST /v1/comp", HEAD):
        assert reply_to(address, sent) == b""
    health = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert reply_to(address, f"{health}GET /hea").endswith(b'{"status":"ok"}')


def test_a_body_that_does_not_arrive_is_refused(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_BODY_SECONDS", 0.3)
    reply = reply_to(address, f"{HEAD}Connection: close\r\nContent-Length: 9\r\n\r\n{{")
    assert reply.startswith(b"HTTP/1.1 408")
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


def post(body: dict[str, object]) -> str:
    content = json.dumps(body)
    return f"{HEAD}Connection: close\r\nContent-Length: {len(content)}\r\n\r\n{content}"


def test_a_failure_of_the_engine_is_an_error_even_in_a_stream(
    address: tuple[str, int], engine: FailingEngine
) -> None:
    engine.pieces = []
    for stream in (True, False):
        assert reply_to(address, post({"prompt": "x", "stream": stream})).startswith(
            b"HTTP/1.1 500"
        )
    engine.pieces = ["a"]
    *_, error, done, _ = reply_to(address, post({"prompt": "x", "stream": True})).split(b"\n\n")
    assert b'"message": "the engine has failed"' in error
    assert done.endswith(b"[DONE]")


def test_a_client_that_does_not_read_keeps_no_slot(
    address: tuple[str, int], engine: FailingEngine
) -> None:
    engine.pieces = ["x" * 10_000] * 3000
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(post({"prompt": "x", "stream": True}).encode())
        until(lambda: engine.requests)
        until(lambda: not engine.running)
        engine.pieces = ["other"]
        assert b"other" in reply_to(address, post({"prompt": "x", "stream": True}))
