"""Talk to the llama.cpp server of this process over its private Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from mistral_cli.errors import EngineFailed


class Client:
    """Posts JSON to the server that listens at `path` and asks for `api_key`."""

    def __init__(self, path: Path, api_key: str) -> None:
        self._path = path
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}

    def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to `body`. Raises EngineFailed."""
        reply: dict[str, Any] = self._reply("POST", route, json.dumps(body))
        return checked(reply)

    def wait_for_the_loop(self) -> None:
        """Return once the server's loop is running. Raises EngineFailed.

        To tokenize, the server needs no loop; this question goes through its queue.
        """
        self._reply("GET", "/lora-adapters", None)

    def _reply(self, method: str, route: str, body: str | None) -> Any:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, route, body, self._headers)
            return json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise engine_failed(f"llama.cpp did not answer {route}: {error}") from error
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; made anew for each call, since idle ones go dead."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
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
