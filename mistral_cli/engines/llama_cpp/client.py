"""A client for a llama.cpp server on a private Unix socket."""

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
_POLL_MILLISECONDS = 1000


class LlamaServerClient:
    """Posts JSON to the server that listens at `path` and requires `api_key`."""

    def __init__(self, path: Path, api_key: str, seconds: float | None = None) -> None:
        """With `seconds`, each reply must come within that time; without, there is no limit."""
        self._path, self._seconds = path, seconds
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}

    def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to `body`. Raises EngineFailed."""
        return raise_for_error(self.request("POST", route, body))

    def post_while(
        self, route: str, body: dict[str, Any], is_wanted: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """The reply to `body`, or None as soon as it `is_wanted` no longer: the server then stops.

        `is_wanted` is called every second. Raises EngineFailed.
        """
        with self._send("POST", route, body) as connection:
            answered = select.poll()
            answered.register(connection.sock, select.POLLIN)
            while not answered.poll(_POLL_MILLISECONDS):
                if not is_wanted():
                    return None
            return raise_for_error(json.loads(connection.getresponse().read()))

    def stream(self, route: str, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The parts of the reply to `body` as they arrive; closing this stops the server's work.

        Raises EngineFailed.
        """
        with self._reply("POST", route, body) as reply:
            if reply.status != http.client.OK:  # one reply, which says why
                yield raise_for_error(json.loads(reply.read()))
            for line in reply:
                if line.startswith(_DATA + _END):
                    return
                if line.startswith(_DATA):
                    yield raise_for_error(json.loads(line[len(_DATA) :]))
            raise engine_failed("llama.cpp's server ended in the middle of an answer")

    def wait_ready(self) -> None:
        """Return once the server's main loop is running. Raises EngineFailed.

        The server tokenizes without that loop; this request goes through the loop's queue.
        """
        self.request("GET", "/lora-adapters")

    def is_healthy(self) -> bool:
        """Whether the server answers and its model is loaded."""
        try:
            return bool(self.request("GET", "/health").get("status") == "ok")
        except EngineFailed:
            return False

    def request(self, method: str, route: str, body: Any = None) -> Any:
        """The reply to any request, unchecked. Raises EngineFailed."""
        with self._reply(method, route, body) as reply:
            return json.loads(reply.read())

    def metrics(self) -> dict[str, float]:
        """The server's counters by name, without "llamacpp:". Raises EngineFailed."""
        with self._reply("GET", "/metrics", None) as reply:
            lines = [line.split() for line in reply.read().decode().splitlines()]
            pairs = [line for line in lines if len(line) == 2 and line[0].startswith(_METRIC)]
            return {name.removeprefix(_METRIC): float(value) for name, value in pairs}

    @contextlib.contextmanager
    def _reply(
        self, method: str, route: str, body: dict[str, Any] | None
    ) -> Iterator[http.client.HTTPResponse]:
        with self._send(method, route, body) as connection:
            yield connection.getresponse()

    @contextlib.contextmanager
    def _send(
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
    """HTTP over a Unix socket; a new one for each call, because idle connections die."""

    def __init__(self, path: Path, seconds: float | None) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def raise_for_error(reply: dict[str, Any]) -> dict[str, Any]:
    """`reply`, unless it reports an error: llama.cpp answers with errors and does not raise them.

    Raises EngineFailed.
    """
    if "error" in reply:
        error = reply["error"]
        raise engine_failed(
            f"llama.cpp: {error.get('message', error) if isinstance(error, dict) else error}"
        )
    return reply


def engine_failed(message: str) -> EngineFailed:
    """The error for a failure of this engine, with a next step."""
    return EngineFailed(message, hint="Try --engine ctransformers, or another model file.")
