"""HTTP to one server: JSON there and back, and streams of JSON objects."""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mistral_cli.engines.servers.trouble import ServerTrouble, ServerUnusable, refusal, reported
from mistral_cli.engines.servers.watchdog import Watchdog, WatchedStream
from mistral_cli.errors import TimedOut, UsageError, first_line
from mistral_cli.system.strict_json import loads

if TYPE_CHECKING:
    import httpx2

MOST_REPLY = 64 << 20
"""Bytes of a whole reply: more than any answer, tokenized prompt or list of models has."""

_MOST_LINE = 16 << 20
_MOST_ERROR = 1 << 16
_OK = 200
_LEAST_SECRET = 8  # characters: a key such as "none" is no secret, and occurs in messages
_HEADERS = ("location", "retry-after")  # what an error needs
_WRITE_SECONDS = 60.0
_LOCAL = ("localhost", "127.0.0.1", "::1")
_GONE = "Check that the server runs and that its address is right."


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, until a reply begins, and between two parts of it.

    A long prompt on a busy server takes minutes before its first token.
    """

    connect: float = 10.0
    first: float = 600.0
    idle: float = 120.0


def server_address(url: str) -> str:
    """The address of a server without a trailing `/v1`. Raises UsageError.

    A key in the address would be seen in lists of processes and in logs.
    """
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise _bad_address(url, str(error)) from None
    if parts.username or parts.password:
        raise UsageError(
            "the address of a server has a name or password in it",
            hint="Leave it out: the variable MISTRAL_CLI_SERVER_KEY has the key.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad_address(url, "it does not name a server over http or https")
    if parts.query or parts.fragment:
        raise _bad_address(url, "it has a query")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def without_secrets(url: str) -> str:
    """The address to show: a name, a password or a query in it may be a key."""
    *secret, rest = url.rpartition("@")
    address = re.split("[?#]", rest)[0]
    return f"…@{address}" if any(secret) else address


def _bad_address(url: str, problem: str) -> UsageError:
    return UsageError(
        f"{without_secrets(url)!r} is not the address of a server: {problem}",
        hint="Write for example --server http://localhost:8000.",
    )


class ServerClient:
    """Talks to the server at `url`, with `key` if it wants one. Safe for several threads.

    Every method raises ServerTrouble where asking again may help, ServerUnusable where it does
    not, and another MistralCliError where the request itself is refused.
    """

    def __init__(self, url: str, key: str = "", timeouts: Timeouts | None = None) -> None:
        import httpx2

        self.url = server_address(url)
        self.timeouts = timeouts or Timeouts()
        self.name = urlsplit(self.url).netloc
        self._library = httpx2
        self._watchdog = Watchdog()
        is_local = urlsplit(self.url).hostname in _LOCAL
        self._key = key
        headers = {"Accept-Encoding": "identity", "User-Agent": "mistral-cli"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx2.Client(
            base_url=self.url,
            headers=headers,
            follow_redirects=False,  # another host must not get the key
            verify=_trust(self.url),
            trust_env=not is_local,  # a proxy does not reach this machine's servers
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
        )

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return urlsplit(self.url).hostname in _LOCAL

    def get(self, path: str, seconds: float | None = None) -> Any:
        """The JSON at `path`."""
        return self._whole("GET", path, None, seconds)

    def post(
        self, path: str, body: Any, seconds: float | None = None, *, deadline: float | None = None
    ) -> Any:
        """The JSON that answers `body`, within `seconds` or by the `deadline`."""
        return self._whole("POST", path, body, seconds, deadline)

    def close(self) -> None:
        """End every stream, and the connections."""
        self._watchdog.end_all()
        self._client.close()

    def _whole(
        self,
        method: str,
        path: str,
        body: Any,
        seconds: float | None,
        deadline: float | None = None,
    ) -> Any:
        content = bytearray()
        if seconds is not None:
            deadline = time.monotonic() + seconds
        for part in self._parts(method, path, body, self.timeouts.first, deadline):
            content += part
            if len(content) > MOST_REPLY:
                raise self._trouble(f"its reply to {path} is too long")
        return self._json(bytes(content), path)

    def stream(
        self, path: str, body: Any, *, most_bytes: int = MOST_REPLY, deadline: float | None = None
    ) -> Generator[dict[str, Any], None, None]:
        """The objects of a stream: server-sent events up to `[DONE]`, or an object a line.

        A stream that ends without either its last event or an object that is `done` was cut: that
        is for the caller to see. Raises TimedOut at the `deadline` (of `time.monotonic`).
        """
        size, last = 0, time.monotonic()

        def counted() -> Generator[bytes, None, None]:
            nonlocal size
            with contextlib.closing(
                self._parts("POST", path, body, self.timeouts.first, deadline)
            ) as parts:
                for part in parts:
                    size += len(part)
                    if time.monotonic() - last > self.timeouts.first:
                        raise self._trouble("it sends nothing but signs of life")
                    if size > most_bytes:
                        raise self._trouble("it sends more than was asked for, without an end")
                    yield part

        with contextlib.closing(counted()) as parts:
            for data in events(parts, self._trouble):
                last = time.monotonic()
                if data == b"[DONE]":
                    yield {"done": True}
                    return
                value = self._json(data, path)
                if not isinstance(value, dict):
                    raise self._trouble(f"a part of its reply to {path} is not an object")
                if value.get("error"):
                    raise reported(self._without_key(json.dumps(value)), self.name)
                yield value

    def _parts(
        self, method: str, path: str, body: Any, first: float, deadline: float | None
    ) -> Generator[bytes, None, None]:
        """The bytes of a reply whose status is 200, as they arrive."""
        if deadline is not None:
            first = min(first, max(deadline - time.monotonic(), 0.001))
        timeout = self._library.Timeout(
            connect=self.timeouts.connect, read=first, write=60, pool=None
        )
        stream: WatchedStream | None = None
        try:
            content = None if body is None else json.dumps(body).encode()
            headers = {} if body is None else {"Content-Type": "application/json"}
            request = self._client.build_request(
                method, f"{self.url}{path}", content=content, headers=headers, timeout=timeout
            )
            with contextlib.closing(self._client.send(request, stream=True)) as reply:
                stream = WatchedStream(_socket_of(reply), first, deadline)
                with self._watchdog.watch(stream):
                    self._check_status(reply)
                    for part in reply.iter_raw():
                        stream.sent(self.timeouts.idle)
                        yield part
                        stream.sent(self.timeouts.idle)
                if stream.ended_by:  # a body that ends with its connection
                    raise self._ended(stream.ended_by)
        except (self._library.HTTPError, self._library.InvalidURL, OSError, RuntimeError) as error:
            late = deadline is not None and time.monotonic() >= deadline
            if stream and stream.ended_by:
                raise self._ended(stream.ended_by) from None
            if late:
                raise self._ended("deadline") from None
            raise self._translated(error) from error

    def _check_status(self, reply: httpx2.Response) -> None:
        if reply.status_code != _OK:
            body = bytearray()
            with contextlib.suppress(self._library.HTTPError):
                for part in reply.iter_raw():
                    body += part
                    if len(body) > _MOST_ERROR:
                        break
            told = {name: self._without_key(reply.headers.get(name, "")) for name in _HEADERS}
            message = self._without_key(body.decode("utf-8", "replace"))
            raise refusal(reply.status_code, told, message, self.name, reply.request.url.path)
        if reply.headers.get("content-encoding", "identity").lower() != "identity":
            raise self._trouble("it compresses its reply, which was not asked for")
        kind = reply.headers.get("content-type", "").lower()
        if "html" in kind:
            raise ServerUnusable(
                f"{self.name} answers with an HTML page", hint="Check the address of the server."
            )

    def _without_key(self, text: str) -> str:
        """A text of the server to show: some repeat the key that they refuse."""
        return text.replace(self._key, "…") if len(self._key) >= _LEAST_SECRET else text

    def _json(self, data: bytes, path: str) -> Any:
        try:
            return loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise self._trouble(
                f"its reply to {path} is not JSON: {first_line(error)[:100]}"
            ) from None

    def _trouble(self, problem: str) -> ServerTrouble:
        return ServerTrouble(f"{self.name}: {problem}", hint=_GONE)

    def _ended(self, why: str) -> Exception:
        if why == "deadline":
            return TimedOut(
                f"{self.name} did not complete its reply in time", hint="Raise --timeout."
            )
        if why == "silence":
            return self._trouble("it went silent in the middle of its reply")
        return self._trouble("the connection was closed")

    def _translated(self, error: Exception) -> Exception:
        library, message = self._library, first_line(error)
        if isinstance(error, library.ConnectTimeout):
            return _unsent(self._trouble("it does not accept a connection"))
        if isinstance(error, library.TimeoutException):
            return self._trouble("it does not reply")
        if isinstance(error, library.InvalidURL | library.UnsupportedProtocol):
            return ServerUnusable(f"{self.name} has no valid address: {message}", hint=_GONE)
        if "certificate" in message.lower() or "ssl" in message.lower():
            return ServerUnusable(
                f"the connection to {self.name} cannot be trusted: {message}",
                hint="Check https and the certificate; SSL_CERT_FILE names one of your own.",
            )
        if isinstance(error, library.ConnectError):
            return _unsent(self._trouble(f"it cannot be reached: {message}"))
        return self._trouble(f"the connection broke: {message}")


def _trust(url: str) -> ssl.SSLContext | bool:
    """Which certificates count: the system's, or those of SSL_CERT_FILE, for this machine too."""
    if not url.startswith("https:"):
        return False  # reading the certificates takes 20 ms
    file = os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file) if file else True
    except OSError as error:
        raise UsageError(
            f"cannot read the certificates in {file}: {first_line(error)}",
            hint="Correct SSL_CERT_FILE, or unset it.",
        ) from error


def _unsent(trouble: ServerTrouble) -> ServerTrouble:
    trouble.received = False
    return trouble


def events(parts: Iterator[bytes], trouble: Any) -> Iterator[bytes]:
    """The data of server-sent events, or the lines of a reply that has an object in each.

    The lines may end with CR, LF or both, be cut anywhere, and have comments between them.
    """
    data: list[bytes] = []
    for line in _lines(parts, trouble):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"error:"):  # as llama.cpp wrote it until 2025
            yield b'{"error":' + line[6:] + b"}"
        elif line.startswith(b"{"):
            yield line
        elif not line and data:
            yield b"\n".join(data)
            data = []
    if data:
        yield b"\n".join(data)


def _lines(parts: Iterator[bytes], trouble: Any) -> Iterator[bytes]:
    held, cut_after_cr = b"", False
    for part in parts:
        if cut_after_cr:
            part = part.removeprefix(b"\n")
        cut_after_cr = part.endswith(b"\r") if part else cut_after_cr
        *lines, held = (held + part).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        yield from lines
        if len(held) > _MOST_LINE:
            raise trouble("a line of its reply is too long")
    if held:
        yield held


def _socket_of(reply: httpx2.Response) -> Any:
    stream = reply.extensions.get("network_stream")
    return stream.get_extra_info("socket") if stream is not None else None
