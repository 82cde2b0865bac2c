"""Sessions on a running llama.cpp server, whoever started it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engine_io import GREEDY
from synthetic.models import write_mistral

from mistral_cli.engines.llama_cpp.client import LlamaServerClient
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Event, Finish, Request, Sampling, TextDelta
from mistral_cli.errors import EngineFailed
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.structured.grammar import json_grammar
from mistral_cli.system.files import scratch_folder

CHUNK = b'data: {"choices": [{"text": "Hello", "finish_reason": null}]}\n\n'
LAST = (
    b'data: {"choices": [{"text": "", "finish_reason": "stop"}], '
    b'"usage": {"completion_tokens": 1}}\n\ndata: [DONE]\n\n'
)


@pytest.fixture
def answering(mistral: Path) -> Iterator[Callable[[bytes], ServerSession]]:
    """A session whose server answers one request with the given bytes, and ends."""
    with scratch_folder() as folder:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "s.sock"))
        listener.listen()

        def answering(reply: bytes) -> ServerSession:
            def serve() -> None:
                connection, _ = listener.accept()
                asked = b""
                while not asked.endswith(b"}"):  # the body, which comes after the head
                    asked += connection.recv(65536)
                connection.sendall(reply)
                connection.close()

            threading.Thread(target=serve, daemon=True).start()
            client = LlamaServerClient(folder / "s.sock", "key")
            return ServerSession(client, read_gguf(mistral), context_length=64)

        yield answering
        listener.close()


def ok(*chunks: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def ask(engine: ServerSession) -> list[Event]:
    return list(engine.stream(Request((1, 300), 4, GREEDY)))


def test_a_streamed_answer(answering: Callable[[bytes], ServerSession]) -> None:
    answer = [TextDelta("Hello"), Finish("stop", 1)]
    assert ask(answering(ok(CHUNK[:20], CHUNK[20:], LAST, b""))) == answer


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 200 OK\r\n", ok(), ok(CHUNK), ok(CHUNK)[:-9], ok(CHUNK, b"")],
    ids=["nothing", "half a head", "head", "a chunk", "half a chunk", "no last event"],
)
def test_a_server_that_ends_is_an_error(
    answering: Callable[[bytes], ServerSession], reply: bytes
) -> None:
    with pytest.raises(EngineFailed, match=r"ended in the middle|did not answer"):
        ask(answering(reply))


@pytest.mark.parametrize(
    "reply",
    [
        b'HTTP/1.1 400 Bad\r\nContent-Length: 32\r\n\r\n{"error": {"message": "no way"}}',
        ok(CHUNK, b'data: {"error": {"message": "no way"}}\n\n'),
    ],
    ids=["refused", "in the middle"],
)
def test_an_error_of_the_server_is_reported(
    answering: Callable[[bytes], ServerSession], reply: bytes
) -> None:
    with pytest.raises(EngineFailed, match="no way"):
        ask(answering(reply))


def test_no_server_at_all(mistral: Path, tmp_path: Path) -> None:
    client = LlamaServerClient(tmp_path / "none", "")
    engine = ServerSession(client, read_gguf(mistral), context_length=64)
    with pytest.raises(EngineFailed, match="did not answer"):
        ask(engine)


def test_closing_the_stream_ends_the_work_of_the_server(stories: Path) -> None:
    with backend("llama.cpp").open(read_gguf(stories), LoadOptions(100_000, threads=1)) as engine:
        for _ in range(50):  # each would take more than a minute
            events = engine.stream(Request((1, 400), 90_000, GREEDY))
            next(event for event in events if isinstance(event, TextDelta))
            events.close()


def test_grammars_without_support_from_the_server(smollm2: Path) -> None:
    model: GGUF = read_gguf(smollm2)
    with backend("llama.cpp").open(model, LoadOptions(256, threads=1)) as engine:
        ours = ServerSession(
            engine._client,  # type: ignore[attr-defined]
            model,
            context_length=256,
            knows_grammars=False,
        )
        prompt = (1, *engine.tokenize("The capital of France as JSON:"))
        grammar = '%llguidance {}\nstart: "{\\"capital\\": \\"" /[A-Z][a-z]{2,12}/ "\\"}"'
        asked = Request(prompt, 40, GREEDY, grammar)
        both = [
            "".join(e.text for e in each.stream(asked) if isinstance(e, TextDelta))
            for each in (engine, ours)
        ]
        assert both[0] == both[1]
        assert both[0].startswith('{"capital": "')


@pytest.mark.parametrize(
    "schema",
    [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}],
    ids=["few allowed", "few forbidden"],
)
def test_a_grammar_needs_no_further_evaluations(mistral: Path, schema: dict[str, object]) -> None:
    with backend("llama.cpp").open(read_gguf(mistral), LoadOptions(256, threads=1)) as engine:
        client = engine._client  # type: ignore[attr-defined]
        before = client.metrics()["n_decode_total"]
        *_, finish = engine.stream(Request((1, 300), 30, GREEDY, json_grammar(schema, many=False)))
        evaluations = client.metrics()["n_decode_total"] - before
        assert finish == Finish("length", 30)
        assert evaluations <= 31  # the first reads the prompt


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("pattern", [".*", "([^e]{3}.{3}[^at]{4})*", "(.{5}[a-f]{3})*", "(.{5}9)*"])
def test_tokens_sampled_ahead_of_a_changing_mask(
    tmp_path: Path, pattern: str, penalty: float
) -> None:
    model = read_gguf(write_mistral(tmp_path / "small.gguf", vocabulary=1000))
    schema = {"type": "array", "items": {"type": "string", "pattern": f"^{pattern}$"}}
    grammar = json_grammar(schema, many=False)
    one_by_one = Sampling(1.0, 1, 1.0, penalty, 1)  # of one token by chance: the likeliest
    texts = []
    with backend("llama.cpp").open(model, LoadOptions(256, threads=1)) as engine:
        for sampling in (one_by_one, Sampling(0.0, 0, 1.0, penalty, 1)):
            events = engine.stream(Request((1, 300), 90, sampling, grammar))
            texts.append("".join(event.text for event in events if isinstance(event, TextDelta)))
    assert texts[0] == texts[1]
    assert len(texts[0]) > 90


def test_a_short_text_is_tokenized_once(mistral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What surrounds the texts of a batch is the same in each prompt."""
    model, sent = read_gguf(mistral), list[str]()
    post = LlamaServerClient.post

    def recorded(self: LlamaServerClient, route: str, body: dict[str, Any]) -> dict[str, Any]:
        sent.append(body["content"])
        return post(self, route, body)

    monkeypatch.setattr(LlamaServerClient, "post", recorded)
    long = "word " * 100
    with backend("llama.cpp").open(model, LoadOptions(64, 1)) as session:
        first = session.tokenize("about")
        expected = list(first)
        first.clear()  # the caller's own list
        assert session.tokenize("about") == expected != []
        assert session.tokenize(long) == session.tokenize(long)
    assert sent == ["about", long, long]
