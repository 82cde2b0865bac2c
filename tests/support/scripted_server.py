"""Servers that speak the protocols of vLLM, llama-server, ollama and others, with a script.

Each listens on a port of this machine. They answer with the last words of the prompt, and
misbehave as told: `faults` has what goes wrong with the next answers.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

CONTROLS = {"<|im_start|>": 1, "<|im_end|>": 2, "</s>": 3, "<|secret|>": 4}
FIRST_BYTE = 100
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPLIT = re.compile("(" + "|".join(map(re.escape, CONTROLS)) + ")")
_OWNERS = {
    "vllm": "vllm",
    "llama-server": "llamacpp",
    "sglang": "sglang",
    "mistral-cli": "mistral-cli",
    "ollama": "library",
    "lm-studio": "organization_owner",
    "openai": "somebody",
}


def tokens_of(text: str, *, parses: bool) -> list[int]:
    """One token for each byte, and one for each control token."""
    ids = list[int]()
    for part in _SPLIT.split(text) if parses else [text]:
        ids += (
            [CONTROLS[part]]
            if parses and part in CONTROLS
            else [FIRST_BYTE + b for b in part.encode()]
        )
    return ids


def text_of(ids: Sequence[int]) -> str:
    """The text of tokens, that of control tokens included."""
    names = {token: text.encode() for text, token in CONTROLS.items()}
    data = b"".join(names.get(each) or bytes([each - FIRST_BYTE]) for each in ids)
    return data.decode("utf-8", "replace")


def rendered(messages: Sequence[Json]) -> str:
    """What TEMPLATE makes of messages."""
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n"


def last_words(prompt: str) -> list[str]:
    """Up to three words of the last turn, as the pieces of an answer."""
    turns = re.findall(r"user\n(.*?)<\|im_end\|>", prompt, re.DOTALL)
    words = (turns[-1] if turns else prompt).split()[-3:]
    return [" " * (index > 0) + word for index, word in enumerate(words)]


@dataclass
class ScriptedServer:
    """A server of some `kind`. `faults` are taken one by one, for each request for an answer.

    `enforces` are the ways to ask for JSON that it follows; `answers_json` is what it writes then.
    """

    kind: str = "openai"
    models: Sequence[str] = ("a-model",)
    key: str = ""
    context: int | None = 4096
    slots: int = 4
    pieces: Callable[[str], list[str]] = last_words
    faults: list[str] = field(default_factory=list)
    enforces: Sequence[str] = ()
    answers_json: str = '{"name": "Anna"}'
    delay: float = 0.0
    facts: Json = field(default_factory=dict)
    requests: list[tuple[str, Json, dict[str, str]]] = field(default_factory=list)
    port: int = 0
    outstanding: int = 0
    most_outstanding: int = 0
    refuses_above: int | None = None
    shows_tokenizer: bool = False
    loading: int = 0
    instead: dict[str, Any] = field(default_factory=dict)
    counted: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def answered(self, path: str = "completions") -> list[Json]:
        """The bodies of the requests to paths that end in this."""
        return [body for route, body, _ in self.requests if route.endswith(path)]

    @contextlib.contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        """Listen until the block ends, on the same port each time."""
        server = _Listener(("127.0.0.1", self.port), _handler(self))
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            server.cut()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self.connections = set[socket.socket]()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is expected here."""

    def cut(self) -> None:
        """End every connection, as the end of the process would."""
        for each in list(self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _handler(script: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        server_script = script

    return Handler


class _Handler(BaseHTTPRequestHandler):
    server_script: ScriptedServer
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        script = self.server_script
        script.requests.append((self.path, {}, dict(self.headers)))
        if script.loading:
            script.loading -= 1
            self._reply({"error": {"message": "Loading model", "code": 503}}, 503)
            return
        if not self._has_key():
            return
        replies: dict[str, Any] = {"/v1/models": self._models()}
        if script.kind == "llama-server":
            replies["/props"] = self._props()
        if script.kind == "vllm":
            replies["/version"] = {"version": "0.99"}
            if script.shows_tokenizer:
                replies["/tokenizer_info"] = {
                    "chat_template": TEMPLATE,
                    "bos_token": None,
                    "eos_token": "<|im_end|>",
                }
        if script.kind == "ollama":
            names = [{"name": name, "digest": "abc"} for name in script.models]
            replies |= {"/api/version": {"version": "0.9"}, "/api/tags": {"models": names}}
        if script.kind == "lm-studio":
            models = [{"id": name, "max_context_length": script.context} for name in script.models]
            replies["/api/v0/models"] = {"data": models}
        if self.path in replies:
            self._reply(replies[self.path])
        else:
            self._reply({"error": {"message": "Not Found"}}, 404)

    def do_POST(self) -> None:
        script = self.server_script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        script.requests.append((self.path, body, dict(self.headers)))
        if not self._has_key():
            return
        match self.path:
            case "/tokenize" if script.kind in ("llama-server", "vllm"):
                self._reply(self._tokenized(body))
            case "/detokenize" if script.kind in ("llama-server", "vllm"):
                name = "content" if script.kind == "llama-server" else "prompt"
                self._reply({name: text_of(body["tokens"])})
            case "/api/show" if script.kind == "ollama":
                info = {"general.architecture": "llama", "llama.context_length": script.context}
                self._reply({"model_info": {**info, "general.parameter_count": 7}, "details": {}})
            case "/v1/completions" | "/v1/chat/completions" | "/api/chat" | "/api/generate":
                self._counted(body)
            case "/completion" if script.kind == "llama-server":
                [[token, _]] = body["logit_bias"]
                step = {"id": token, "logprob": -float(token) / 1000}
                self._reply({"completion_probabilities": [step]})
            case _:
                self._reply({"error": {"message": "Not Found"}}, 404)

    def _counted(self, body: Json) -> None:
        script = self.server_script
        with script.counted:
            script.outstanding += 1
            script.most_outstanding = max(script.most_outstanding, script.outstanding)
            full = script.refuses_above is not None and script.outstanding > script.refuses_above
        try:
            if full:
                self._reply({"error": {"message": "too many requests"}}, 429)
                return
            time.sleep(script.delay)
            self._answer(body)
        finally:
            with script.counted:
                script.outstanding -= 1

    def _has_key(self) -> bool:
        key = self.server_script.key
        if not key or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self._reply({"error": {"message": "Invalid API key"}}, 401)
        return False

    def _models(self) -> Json:
        script = self.server_script
        entry: Json = {"object": "model", "owned_by": _OWNERS[script.kind]}
        if script.kind == "llama-server":
            meta = {"vocab_type": 2, "n_vocab": 356, "n_params": 1000, "n_ctx_train": 9999}
            entry["meta"] = {**meta, **script.facts}
        elif script.kind in ("vllm", "mistral-cli", "sglang"):
            entry |= {"max_model_len": script.context, "root": "a/root", **script.facts}
        return {"object": "list", "data": [{"id": name, **entry} for name in script.models]}

    def _props(self) -> Json:
        script = self.server_script
        return {
            "default_generation_settings": {"n_ctx": script.context},
            "total_slots": script.slots,
            "chat_template": TEMPLATE,
            "bos_token": "",
            "eos_token": "<|im_end|>",
            "build_info": "b1",
        }

    def _tokenized(self, body: Json) -> Json:
        vllm = self.server_script.kind == "vllm"
        text = body["content"] if not vllm else body.get("prompt")
        if text is None:
            text = rendered(body["messages"])
        ids = tokens_of(text, parses=vllm or body.get("parse_special", False))
        if body.get("with_pieces"):
            return {"tokens": [{"id": each, "piece": text_of([each])} for each in ids]}
        reply: Json = {"tokens": ids, "count": len(ids)}
        if body.get("return_token_strs"):
            reply["token_strs"] = [text_of([each]) for each in ids]
        return reply

    # --- answers ---

    def _answer(self, body: Json) -> None:
        script = self.server_script
        with script.counted:
            fault = script.faults.pop(0) if script.faults else ""
        if fault in _STATUSES:
            status, message, headers = _STATUSES[fault]
            self._reply(message, status, headers)
            return
        pieces = self._pieces(body)
        if "prompt_logprobs" in body:
            self._reply({"choices": [{"text": "", "prompt_logprobs": _logprobs(body["prompt"])}]})
            return
        _FAULTS.get(fault, _Handler._stream)(self, body, pieces)

    def _pieces(self, body: Json) -> list[str]:
        script = self.server_script
        ways = {"grammar", "json_schema", "structured_outputs", "guided_json", "format"}
        ways |= {"response_format"}
        asked = next((way for way in ways if way in body), None)
        if asked in script.enforces:
            probe = "zq" in json.dumps(body[asked])
            return ['{"zq": "vx"}'] if probe else list(script.answers_json)
        prompt = body.get("prompt")
        if prompt is None:
            prompt = rendered(body["messages"])
        elif not isinstance(prompt, str):
            prompt = text_of(prompt)
        most = body.get("max_tokens") or body.get("options", {}).get("num_predict") or 10**6
        return script.pieces(prompt)[:most]

    def _head(self, content_type: str = "text/event-stream", **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.close_connection = True

    def _stream(self, body: Json, pieces: Sequence[str], **style: Any) -> None:
        self._head()
        for data in self._chunks(body, pieces):
            self._write(data, **style)

    def _write(self, data: str, *, end: str = "\n", comment: str = "", size: int = 0) -> None:
        if self.path.startswith("/api/"):
            text = "" if data == "[DONE]" else f"{data}\n"
        else:
            text = f"{comment}data: {data}{end}{end}"
        raw = text.encode()
        for start in range(0, len(raw), size or max(len(raw), 1)):
            self.wfile.write(raw[start : start + (size or len(raw))])
            self.wfile.flush()

    def _chunks(self, body: Json, pieces: Sequence[str]) -> Iterator[str]:
        for piece in pieces:
            yield json.dumps(self._chunk(piece))
        if self.path.startswith("/api/"):
            counts = {"eval_count": len(pieces), "prompt_eval_count": 5}
            yield json.dumps({**self._chunk(""), "done": True, "done_reason": "stop", **counts})
            return
        yield json.dumps(self._chunk("", "stop"))
        if body.get("stream_options", {}).get("include_usage"):
            usage = {"completion_tokens": len(pieces), "prompt_tokens": 5, "total_tokens": 6}
            yield json.dumps({"choices": [], "usage": usage})
        yield "[DONE]"

    def _chunk(self, text: str, reason: str | None = None) -> Json:
        match self.path:
            case "/api/chat":
                return {"message": {"role": "assistant", "content": text}, "done": False}
            case "/api/generate":
                return {"response": text, "done": False}
            case "/v1/chat/completions":
                delta = {"content": text} if text else {}
                return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        return {"choices": [{"index": 0, "text": text, "finish_reason": reason}]}

    def _reply(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        value = self.server_script.instead.get(self.path, value)
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            kind = "text/html" if raw.startswith(b"<") else "application/json"
            for name, text in {"Content-Type": kind, **(headers or {})}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    # --- what goes wrong ---

    def _raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _cut(self, body: Json, pieces: Sequence[str]) -> None:
        self._head()
        self._write(json.dumps(self._chunk(pieces[0] if pieces else "x")))

    def _cut_in_line(self, body: Json, pieces: Sequence[str]) -> None:
        self._head()
        self._raw(b'data: {"choices": [{"te')

    def _cut_length(self, body: Json, pieces: Sequence[str]) -> None:
        self._raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\ndata: {}\n\n")

    def _endless(self, body: Json, pieces: Sequence[str]) -> None:
        self._head()
        with contextlib.suppress(OSError):
            while True:
                self._write(json.dumps(self._chunk("x" * 100)))

    def _endless_comments(self, body: Json, pieces: Sequence[str]) -> None:
        self._head()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b": keep-alive\n\n" * 1000)

    def _endless_line(self, body: Json, pieces: Sequence[str]) -> None:
        self._head()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"x" * (1 << 20))

    def _silence(self, body: Json, pieces: Sequence[str]) -> None:
        self._head()
        self._write(json.dumps(self._chunk("x")))
        time.sleep(5)

    def _drip(self, body: Json, pieces: Sequence[str]) -> None:
        self._head()
        with contextlib.suppress(OSError):
            for _ in range(500):
                self.wfile.write(b":")
                self.wfile.flush()
                time.sleep(0.02)

    def _chunk_of(self, text: str) -> Callable[..., None]:
        def write(body: Json, pieces: Sequence[str]) -> None:
            self._head()
            self._write(text)

        return write


def _logprobs(prompt: Sequence[int]) -> list[Any]:
    steps: list[Any] = [None]
    return steps + [{str(each): {"logprob": -each / 1000, "rank": 1}} for each in prompt[1:]]


def _saying(text: str) -> Callable[[_Handler, Json, Sequence[str]], None]:
    return lambda handler, body, pieces: handler._chunk_of(text)(body, pieces)


def _sending(data: bytes) -> Callable[[_Handler, Json, Sequence[str]], None]:
    return lambda handler, body, pieces: handler._raw(data)


def _styled(**style: Any) -> Callable[[_Handler, Json, Sequence[str]], None]:
    return lambda handler, body, pieces: handler._stream(body, pieces, **style)


_HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
_STATUSES: dict[str, tuple[int, Any, dict[str, str]]] = {
    **{
        str(each): (each, {"error": {"message": "no"}}, {})
        for each in (408, 429, 500, 502, 503, 504)
    },
    "retry-after": (429, {"error": {"message": "slowly"}}, {"Retry-After": "0"}),
    "retry-date": (503, {"detail": "no"}, {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}),
    "html-502": (502, _HTML, {}),
    "html-200": (200, _HTML, {}),
    "redirect": (302, {}, {"Location": "http://192.0.2.1/v1/completions"}),
    "401": (401, {"error": "unauthorized"}, {}),
    "403": (403, {"detail": "forbidden"}, {}),
    "404": (404, {"error": {"message": "The model does not exist."}}, {}),
    "400": (400, {"error": {"message": "bad field"}}, {}),
    "422": (422, {"detail": [{"msg": "field required", "loc": ["body"]}]}, {}),
    "413": (413, b"", {}),
    "context": (400, {"error": {"message": "This model's maximum context length is 9 tokens"}}, {}),
    "empty": (200, b"", {}),
    "gzip": (200, b"\x1f\x8b\x08", {"Content-Encoding": "gzip"}),
    "null": (200, b"null", {}),
    "list": (200, b"[]", {}),
    "no-choices": (200, b'{"object": "x"}', {}),
}
_FAULTS: dict[str, Callable[[Any, Json, Sequence[str]], None]] = {
    "cut": _Handler._cut,
    "cut-in-line": _Handler._cut_in_line,
    "cut-length": _Handler._cut_length,
    "endless": _Handler._endless,
    "endless-comments": _Handler._endless_comments,
    "endless-line": _Handler._endless_line,
    "silence": _Handler._silence,
    "drip": _Handler._drip,
    "reset": _sending(b""),
    "garbage": _sending(b"\x00\xff\x00 what\r\n\r\n"),
    "half-head": _sending(b"HTTP/1.1 200 OK\r\nContent-"),
    "bad-chunk": _sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "http-9": _sending(b"HTTP/9.9 200 OK\r\n\r\n"),
    "wrong-json": _saying('{"choices": ['),
    "not-object": _saying("[1, 2]"),
    "number": _saying("3"),
    "nan": _saying('{"choices": NaN}'),
    "deep": _saying("[" * 100_000),
    "choices-null": _saying('{"choices": null}'),
    "choices-text": _saying('{"choices": ["a"]}'),
    "text-number": _saying('{"choices": [{"text": 5}]}'),
    "delta-list": _saying('{"choices": [{"delta": [1]}]}'),
    "other-object": _saying('{"hello": 1}'),
    "error-chunk": _saying('{"error": {"message": "out of memory", "code": 500}}'),
    "error-text": _saying('{"error": "loading"}'),
    "done-at-once": _saying("[DONE]"),
    "crlf": _styled(end="\r\n"),
    "cr": _styled(end="\r"),
    "comments": _styled(comment=": hello\n\n: again\nid: 7\nretry: 9\nevent: x\n"),
    "bytes": _styled(size=1),
    "thirds": _styled(size=3, end="\r\n"),
}
HARMLESS = ("crlf", "cr", "comments", "bytes", "thirds")
"""What a client must understand."""

SLOW = ("silence", "drip")
NOT_HERE = ("401", "403", "404", "redirect", "html-200")
"""What means that this server is no use."""

REFUSED = ("400", "422", "413", "context")
"""What means that the request is wrong."""

HARMFUL = tuple(
    name
    for name in (*_STATUSES, *_FAULTS)
    if name not in (*HARMLESS, *SLOW, *NOT_HERE, *REFUSED, "done-at-once")
)
"""What another server, or another time, may do better."""
