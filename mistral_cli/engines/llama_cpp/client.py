"""A client for a llama.cpp server on a private Unix socket."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mistral_cli.engines.decoding.streams import StreamStopped
from mistral_cli.errors import EngineFailed
from mistral_cli.system.interruption import on_interruption

_DATA, _END = b"data: ", b"[DONE]"
_METRIC = "llamacpp:"
_OK = 200
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
            return raise_for_error(json.loads(connection.reply().read()))

    def stream(self, route: str, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The parts of the reply to `body` as they arrive; closing this stops the server's work.

        Raises EngineFailed, and StreamStopped if this thread is interrupted.
        """
        with self._send("POST", route, body) as connection, on_interruption(connection.shut):
            reply = connection.reply()
            if reply.status != _OK:  # one reply, which says why
                yield raise_for_error(json.loads(reply.read()))
            for line in reply.lines():
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
    def _reply(self, method: str, route: str, body: dict[str, Any] | None) -> Iterator[_Reply]:
        with self._send(method, route, body) as connection:
            yield connection.reply()

    @contextlib.contextmanager
    def _send(self, method: str, route: str, body: dict[str, Any] | None) -> Iterator[_Connection]:
        content = json.dumps(body).encode() if body else b""
        connection = None
        try:
            with contextlib.closing(_Connection(self._path, self._seconds)) as connection:
                connection.request(method, route, content, self._headers)
                yield connection
        except (OSError, ValueError) as error:
            if connection and connection.was_shut:
                raise StreamStopped from error
            raise engine_failed(f"llama.cpp did not answer {route}: {error}") from error


class _Connection:
    """HTTP over a Unix socket; a new one for each call, because idle connections die.

    `http.client` can do more, but it imports `email` and `ssl`, which takes 10 ms of every call.
    """

    def __init__(self, path: Path, seconds: float | None) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._file: BinaryIO | None = None
        self.was_shut = False
        self.sock.settimeout(seconds)
        try:
            self.sock.connect(str(path))
        except BaseException:
            self.sock.close()
            raise

    def request(self, method: str, route: str, body: bytes, headers: Mapping[str, str]) -> None:
        lines = [f"{method} {route} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.sock.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode() + body)

    def reply(self) -> _Reply:
        self._file = self.sock.makefile("rb")
        return _Reply(self._file)

    def shut(self) -> None:
        """End the connection for the thread that reads from it, too."""
        self.was_shut = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._file:
            self._file.close()
        self.sock.close()


class _Reply:
    """A reply whose head has been read. Raises OSError and ValueError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        version, _, status = self._line().partition(b" ")
        if not version.startswith(b"HTTP/"):
            raise ValueError(f"not an HTTP reply: {version!r}")
        self.status = int(status[:3])
        self._headers: dict[bytes, bytes] = {}
        while line := self._line():
            name, _, value = line.partition(b":")
            self._headers[name.lower()] = value.strip().lower()

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self._parts())

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the body as they arrive."""
        rest = b""
        for part in self._parts():
            *lines, rest = (rest + part).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def _parts(self) -> Iterator[bytes]:
        if self._headers.get(b"transfer-encoding") == b"chunked":
            while size := int(self._line().partition(b";")[0], 16):
                yield self._exactly(size)
                self._line()
        elif length := self._headers.get(b"content-length"):
            yield self._exactly(int(length))
        else:
            yield self._file.read()

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ConnectionError("the server closed the connection")
        return data

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the server closed the connection")
        return line.rstrip(b"\r\n")


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
    return EngineFailed(message, hint="Try another --engine, or another model file.")
