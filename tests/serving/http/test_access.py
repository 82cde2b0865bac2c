"""What `serve --http` offers, to whom, and that nothing else of the engine can be reached."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path

import openai
import pytest
from support.http_api import KEY, YES, ServedHttp

from mistral_cli.errors import UsageError
from mistral_cli.serving.http.server import check_installed, listen

ELSEWHERE = [
    "/", "/props", "/slots", "/metrics", "/tokenize", "/detokenize", "/apply-template", "/infill",
    "/completion", "/completions", "/chat/completions", "/lora-adapters", "/api/chat", "/embedding",
    "/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/v1/embeddings", "/v1/rerank",
    "/v1/health", "/v1/chat/completions/", "/v1//completions", "/docs", "/openapi.json",
]  # fmt: skip


def test_nothing_else_of_the_engine_is_offered(served: ServedHttp) -> None:
    for path in ELSEWHERE:
        for method in ("GET", "POST"):
            status, _, reply = served.request(method, path, {"prompt": "x"})
            assert (status, json.loads(reply)["error"]["code"]) == (404, "unknown_url")
    assert served.request("GET", "/v1/completions")[0] == 405
    assert served.request("POST", "/v1/models")[0] == 405


def test_only_health_needs_no_key(served: ServedHttp) -> None:
    status, _, reply = served.request("GET", "/health", Authorization="")
    assert (status, json.loads(reply)) == (200, {"status": "ok"})
    for key in ("", "Bearer", "Bearer ", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xff"):
        for path in ("/v1/models", "/v1/chat/completions", "/nowhere"):
            status, headers, reply = served.request("GET", path, Authorization=key)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert json.loads(reply)["error"]["code"] == "invalid_api_key"
    key = served.state["api_key"]  # the engine's own is for its socket alone
    assert served.request("GET", "/v1/models", Authorization=f"Bearer {key}")[0] == 401


def test_a_web_page_cannot_use_it(served: ServedHttp) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "[::1", "a@b", ""):
        for path in ("/health", "/v1/models"):
            assert served.request("GET", path, Host=host)[0] in (400, 403)
    for host in ("localhost", "LOCALHOST:1234", "127.0.0.1:80"):
        assert served.request("GET", "/v1/models", Host=host)[0] == 200
    for method, path in (("OPTIONS", "/v1/chat/completions"), ("GET", "/v1/models")):
        _, headers, _ = served.request(method, path, Origin="http://evil.example")
        assert not [name for name in headers if name.lower().startswith("access-control")]


def test_the_engine_listens_on_its_socket_alone(served: ServedHttp) -> None:
    own = {str(each.readlink()) for each in Path(f"/proc/{served.process.pid}/fd").iterdir()}
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{served.process.pid}/net/{table}").read_text().splitlines()[1:]
    ]
    listening = [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in own]
    assert listening == [f"0100007F:{served.address[1]:04X}"]


def test_slow_and_broken_clients_do_not_block_others(
    served: ServedHttp, client: openai.OpenAI
) -> None:
    heads = [b"", b"POST /v1/ch", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"]
    cut = f"Authorization: Bearer {KEY}\r\nContent-Length: 99\r\n\r\n{{"
    heads.append(heads[-1] + cut.encode())
    with contextlib.ExitStack() as open_connections:
        for head in heads * 20:
            connection = open_connections.enter_context(socket.create_connection(served.address))
            connection.sendall(head)
        assert client.chat.completions.create(model="x", messages=YES, max_tokens=2).choices
    with socket.create_connection(served.address) as connection:
        connection.sendall(b"\x16\x03\x01\0\0 not HTTP\r\n\r\n")
        assert connection.recv(20).startswith(b"HTTP/1.1 400")
    status, _, reply = served.request("POST", "/v1/completions", "x" * (17 << 20))
    assert (status, json.loads(reply)["error"]["type"]) == (413, "invalid_request_error")


def test_a_missing_library_and_a_port_in_use_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on port {port}: "):
            listen(port)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--http needs starlette and uvicorn") as error:
        check_installed()
    assert error.value.hint == "Install: pip install 'mistral-cli[http]'"
