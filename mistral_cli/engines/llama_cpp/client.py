"""Talk to a llama.cpp server over its private Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from mistral_cli.errors import EngineFailed

_DATA, _END = b"data: ", b"[DONE]"
_METRIC = "llamacpp:"
_LOOK_MILLISECONDS = 1000


class Client:
    """Posts JSON to the server that listens at `path` and asks for `api_key`."""

    def __init__(self, path: Path, api_key: str, seconds: float | None = None) -> None:
        """With `seconds`, each answer must come within that time; else it takes what it takes."""
        self._path, self._seconds = path, seconds
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}

    def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to `body`. Raises EngineFailed."""
        return checked(self.ask("POST", route, body))

    def post_while(
        self, route: str, body: dict[str, Any], wanted: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """The reply to `body`; None where it is `wanted` no more, which stops the server's work.

        That is asked every second. Raises EngineFailed.
        """
        with self._asking("POST", route, body) as connection:
            answered = select.poll()
            answered.register(connection.sock, select.POLLIN)
            while not answered.poll(_LOOK_MILLISECONDS):
                if not wanted():
                    return None
            return checked(json.loads(connection.getresponse().read()))

    def stream(self, route: str, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The parts of the reply to `body` as they come; to close this stops the server's work.

        Raises EngineFailed.
        """
        with self._replying("POST", route, body) as reply:
            if reply.status != http.client.OK:  # one answer, which says why
                yield checked(json.loads(reply.read()))
            for line in reply:
                if line.startswith(_DATA + _END):
                    return
                if line.startswith(_DATA):
                    yield checked(json.loads(line[len(_DATA) :]))
            raise engine_failed("llama.cpp's server has gone in the middle of an answer")

    def wait_for_the_loop(self) -> None:
        """Return once the server's loop is running. Raises EngineFailed.

        To tokenize, the server needs no loop; this question goes through its queue.
        """
        self.ask("GET", "/lora-adapters")

    def is_healthy(self) -> bool:
        """Whether the server answers, and its model is loaded."""
        try:
            return bool(self.ask("GET", "/health").get("status") == "ok")
        except EngineFailed:
            return False

    def ask(self, method: str, route: str, body: Any = None) -> Any:
        """The reply to any request, as it is. Raises EngineFailed."""
        with self._replying(method, route, body) as reply:
            return json.loads(reply.read())

    def metrics(self) -> dict[str, float]:
        """The server's counters by name, without "llamacpp:". Raises EngineFailed."""
        with self._replying("GET", "/metrics", None) as reply:
            lines = [line.split() for line in reply.read().decode().splitlines()]
            pairs = [line for line in lines if len(line) == 2 and line[0].startswith(_METRIC)]
            return {name.removeprefix(_METRIC): float(value) for name, value in pairs}

    @contextlib.contextmanager
    def _replying(
        self, method: str, route: str, body: dict[str, Any] | None
    ) -> Iterator[http.client.HTTPResponse]:
        with self._asking(method, route, body) as connection:
            yield connection.getresponse()

    @contextlib.contextmanager
    def _asking(
        self, method: str, route: str, body: dict[str, Any] | None
    ) -> Iterator[_UnixConnection]:
        connection = _UnixConnection(self._path, self._seconds)
        try:
            connection.request(method, route, json.dumps(body) if body else None, self._headers)
            yield connection
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise engine_failed(f"llama.cpp did not answer {route}: {error}") from error
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; made anew for each call, since idle ones go dead."""

    def __init__(self, path: Path, seconds: float | None) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def checked(reply: dict[str, Any]) -> dict[str, Any]:
    """`reply`, unless it reports an error: llama.cpp raises nothing, it answers so."""
    if "error" in reply:
        error = reply["error"]
        raise engine_failed(
            f"llama.cpp: {error.get('message', error) if isinstance(error, dict) else error}"
        )
    return reply


def engine_failed(message: str) -> EngineFailed:
    """A failure of this engine, with the way out."""
    return EngineFailed(message, hint="Try --engine ctransformers, or another model file.")
