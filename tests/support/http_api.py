"""The HTTP API on a session that records requests, and `serve --http` as a process."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from starlette.testclient import TestClient

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.protocol import Session
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Event, Finish, PrefillProgress, Request, TextDelta
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.serving.http.answering import ServedApi
from mistral_cli.serving.http.app import http_app
from mistral_cli.serving.http.streams import AsyncStreams

KEY = "the key"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}

YES: list[Any] = [{"role": "user", "content": "Say only: yes"}]
STORY: list[Any] = [{"role": "user", "content": "Tell me a long story about a fox."}]
ENDLESS = {"messages": STORY, "max_tokens": 3000, "temperature": 0, "repetition_penalty": 1.2}
_LONG = {"type": "string", "minLength": 9999}
LONG_JSON: Any = {"type": "json_schema", "json_schema": {"name": "long", "schema": _LONG}}
"""A format of answers that take minutes."""


@dataclass
class RecordingSession(Session):
    """Tokenizes with a real vocabulary, records the requests, and answers with `pieces`."""

    tokenizer: Session
    pieces: list[str] = field(default_factory=lambda: ["Hel", "lo"])
    requests: list[Request] = field(default_factory=list)
    context: int = 4096

    @property
    def context_length(self) -> int:
        return self.context

    def tokenize(self, text: str) -> list[int]:
        return self.tokenizer.tokenize(text)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        self.requests.append(request)
        total = len(request.prompt_token_ids)
        yield PrefillProgress(total, total)
        for piece in self.pieces:
            yield TextDelta(piece)
        yield Finish("stop", len(self.pieces))

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Api:
    """The application, a client for it, and what reached the engine."""

    model: GGUF
    session: RecordingSession
    client: TestClient

    def post(self, route: str, body: Any) -> tuple[int, dict[str, Any]]:
        """The status and the reply; a `body` in bytes is sent as it is."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = self.client.post(route, content=content, headers=AUTHORIZED)
        return reply.status_code, reply.json()

    def controls(self, route: str, body: Any) -> list[int]:
        """The control tokens in the prompt that reaches the engine."""
        before = len(self.session.requests)
        status, reply = self.post(route, body)
        assert status == 200, reply
        (request,) = self.session.requests[before:]
        assert reply["usage"]["prompt_tokens"] == len(request.prompt_token_ids)
        controls = set(self.model.control_tokens.values())
        return [token for token in request.prompt_token_ids if token in controls]


@contextlib.contextmanager
def recorded(path: Path) -> Iterator[Api]:
    """The application in front of a model of which only the vocabulary is loaded."""
    model = read_gguf(path)
    with open_tokenizer(backend("llama.cpp"), model) as tokenizer:
        session = RecordingSession(tokenizer)
        app = http_app(api_of(model, session), KEY)
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            yield Api(model, session, client)


def api_of(model: GGUF, session: Session, slots: int = 2) -> ServedApi:
    """What the routes work with, for `session`."""
    return ServedApi("a-model", 1, model, session, AsyncStreams(session, slots))


@dataclass(frozen=True)
class ServedHttp:
    """A process that serves a model; `state` is its description in the registry in `runtime`."""

    process: subprocess.Popen[bytes]
    runtime: Path
    state: dict[str, Any]

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.state["http"].split("/")[2].split(":")
        return host, int(port)

    def openai(self) -> openai.OpenAI:
        """OpenAI's client."""
        url = self.state["http"]
        return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=120)

    def engine(self) -> LlamaServerClient:
        """A client of the engine behind it."""
        (path,) = self.runtime.glob("mistral-cli/*/s.sock")
        return LlamaServerClient(path, self.state["api_key"])

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body of the reply to any request."""
        content = json.dumps(body).encode() if body is not None else b""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, content, {**AUTHORIZED, **headers})
            reply = connection.getresponse()
            names = {name.lower(): value for name, value in reply.headers.items()}
            return reply.status, names, reply.read()

    def post_endless(self, **more: Any) -> socket.socket:
        """A connection that asks for an answer of minutes."""
        body = json.dumps({**ENDLESS, **more}).encode()
        lines = ["POST /v1/chat/completions HTTP/1.1", "Host: localhost"]
        lines += [f"Authorization: Bearer {KEY}", f"Content-Length: {len(body)}", "", ""]
        connection = socket.create_connection(self.address)
        connection.sendall("\r\n".join(lines).encode() + body)
        return connection


def until(condition: Callable[[], object]) -> float:
    """Wait until `condition` holds; the seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + 60
        time.sleep(0.002)
    return time.monotonic() - started


@contextlib.contextmanager
def serving(model: Path, *arguments: object) -> Iterator[ServedHttp]:
    """Run `serve --http` with one thread, which does not slow down on a busy machine."""
    with tempfile.TemporaryDirectory() as runtime:  # a short name, for the socket
        Path(runtime).chmod(0o700)
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime, "MISTRAL_CLI_API_KEY": KEY}
        command = [sys.executable, "-m", "mistral_cli", "serve", "--http", "-t", "1", "-m", model]
        process = subprocess.Popen(
            [*map(str, (*command, *arguments))], env=environment, stderr=subprocess.PIPE
        )
        try:
            deadline = time.monotonic() + 120
            while not (states := list(Path(runtime).glob("mistral-cli/*/state.json"))):
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            state = json.loads(states[0].read_text("utf-8"))
            yield ServedHttp(process, Path(runtime), state)
        finally:
            process.kill()
            process.communicate()
