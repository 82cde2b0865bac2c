"""A request as a server takes it, and its reply as events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.servers.kinds import LLAMA_SERVER, OLLAMA
from mistral_cli.engines.servers.trouble import ServerTrouble
from mistral_cli.engines.types import (
    Event,
    Finish,
    FinishReason,
    PrefillProgress,
    ReasoningDelta,
    TextDelta,
)
from mistral_cli.errors import EngineFailed
from mistral_cli.models.remote import unpack

if TYPE_CHECKING:
    from mistral_cli.engines.servers.balance import Server
    from mistral_cli.engines.types import Request
    from mistral_cli.models.remote import RemoteModel

_BYTES_PER_TOKEN, _SPARE_BYTES = 4096, 1 << 20
"""What a token in a stream takes at most, with all that servers write about it."""


@dataclass(frozen=True)
class Exchange:
    """The `body` for the route `path`, for an answer of at most `limit` tokens."""

    path: str
    body: Mapping[str, Any]
    limit: int

    @property
    def most_bytes(self) -> int:
        """The bytes of a stream that ends as it should."""
        return self.limit * _BYTES_PER_TOKEN + _SPARE_BYTES


def exchange(
    server: Server, model: RemoteModel, request: Request, structured: Mapping[str, Any]
) -> Exchange:
    """The request for `server`; `structured` are the fields that ask for JSON."""
    prompt = _prompt(server, model, request)
    limit = request.max_tokens
    if server.kind is OLLAMA:
        return _for_ollama(server, model, request, prompt, structured)
    body = {
        "model": server.facts.model,
        "max_tokens": limit,
        "stream": True,
        "stream_options": {"include_usage": True},
        **server.kind.settings(request.sampling),
        **structured,
    }
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
        body |= {} if model.thinks else server.kind.no_thought
        return Exchange("/v1/chat/completions", {**body, "messages": prompt}, limit)
    if server.kind is LLAMA_SERVER:
        body |= _only_llama_server(request)
    if request.ignore_eos:
        body["ignore_eos"] = True
    if request.thinking and not model.packed:
        body |= {"skip_special_tokens": False} if server.kind is not LLAMA_SERVER else {}
    return Exchange("/v1/completions", {**body, "prompt": prompt}, limit)


def _only_llama_server(request: Request) -> dict[str, Any]:
    """What would otherwise be llama-server's defaults, or those of whoever started it."""
    fields: dict[str, Any] = {
        "samplers": ["penalties", "dry", "top_k", "top_p", "min_p", "temperature"],
        "xtc_probability": 0.0,
        "mirostat": 0,
        "return_progress": True,
        "seed": request.sampling.seed % 0xFFFFFFFF,  # 0xFFFFFFFF means a new seed each time
    }
    if request.thinking:
        # The text of control tokens is left out of answers otherwise.
        fields["preserved_tokens"] = [text for _, text in request.thinking.tokens]
    return fields


def _for_ollama(
    server: Server,
    model: RemoteModel,
    request: Request,
    prompt: str | list[Any],
    structured: Mapping[str, Any],
) -> Exchange:
    """Its own API: with OpenAI's it would cut prompts that are longer than its default context."""
    options = {
        **server.kind.settings(request.sampling),
        "num_ctx": model.context_length,
        "num_predict": request.max_tokens,
    }
    body = {"model": server.facts.model, "stream": True, "options": options, **structured}
    if isinstance(prompt, str):
        raw = {**body, "prompt": prompt, "raw": True}
        return Exchange("/api/generate", raw, request.max_tokens)
    body |= {} if model.thinks else server.kind.no_thought
    return Exchange("/api/chat", {**body, "messages": prompt}, request.max_tokens)


def _prompt(server: Server, model: RemoteModel, request: Request) -> str | list[Any]:
    if not model.packed:
        return list(request.prompt_token_ids)
    content = unpack(request.prompt_token_ids)
    if isinstance(content, str):
        return _neutral(content, server)
    return [{"role": m.role, "content": _neutral(m.content, server)} for m in content]


def _neutral(text: str, server: Server) -> str:
    """`text` in which no control token is spelled, for a server that would read it as one.

    A word joiner (U+2060) goes into the marker. It is invisible and no word ends there.
    """
    if not server.kind.parses_controls:
        return text
    from mistral_cli.engines.servers.neutral import without_controls

    return without_controls(text)


def answer_events(
    chunks: Iterable[Mapping[str, Any]], request: Request, server: Server
) -> Iterator[Event]:
    """The events of a reply that streams. Raises ServerTrouble if it is cut or makes no sense."""
    reply = _Reply(request, server)
    for chunk in chunks:
        yield from reply.feed(chunk)
    yield reply.finish()


class _Reply:
    """What has arrived of a reply."""

    def __init__(self, request: Request, server: Server) -> None:
        self._request, self._server = request, server
        self._markers = [text for _, text in request.thinking.tokens] if request.thinking else []
        self._deltas = self._thoughts = 0
        self._reason: str | None = None
        self._tokens: int | None = None
        self._complete = False
        self._started = time.perf_counter()
        self._first: float | None = None

    def feed(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """The events in one chunk of the reply."""
        if isinstance(progress := chunk.get("prompt_progress"), dict):
            numbers = [progress.get(name) for name in ("processed", "total", "cache")]
            yield PrefillProgress(*(each if isinstance(each, int) else 0 for each in numbers))
            return
        text, thought, reason = self._parts(chunk)
        if text or thought:
            self._first = self._first or time.perf_counter()
        if thought:
            self._thoughts += 1
            yield ReasoningDelta(thought)
        if reason == "length" and text:
            text = text.rstrip("\ufffd")  # half a character
        if text:
            self._deltas += 1
            if self._deltas + self._thoughts > self._request.max_tokens * 4 + 64:
                raise self._trouble("it writes more tokens than were asked for")
            yield TextDelta(text, marker=text in self._markers)

    def _parts(self, chunk: Mapping[str, Any]) -> tuple[str, str, str | None]:
        """The text of an answer, that of a thought, and why it ended, in one chunk."""
        usage = chunk.get("usage")
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            self._tokens = usage["completion_tokens"]
        if isinstance(chunk.get("eval_count"), int):
            self._tokens = chunk["eval_count"]
        if chunk.get("done"):
            self._complete = True
            self._reason = self._reason or chunk.get("done_reason") or "stop"
        if "choices" in chunk:
            choices = chunk["choices"]
            if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
                raise self._trouble("its reply has no choices")
            part = choices[0] if choices else {}
            found = part.get("delta") or part.get("message") or part
            reason = part.get("finish_reason")
            if reason:
                self._reason, self._complete = str(reason), True
        elif "message" in chunk or "response" in chunk:
            part = chunk
            found, reason = chunk.get("message") or {"content": chunk.get("response")}, None
        elif chunk.get("done") or usage is not None:
            return "", "", None
        else:
            raise self._trouble("its reply is not that of a server that speaks OpenAI's API")
        if not isinstance(found, dict):
            raise self._trouble("its reply has no text")
        text = found.get("text") if "text" in found else found.get("content")
        thought = found.get("reasoning_content") or found.get("reasoning") or found.get("thinking")
        if not isinstance(text or "", str) or not isinstance(thought or "", str):
            raise self._trouble("its reply has no text")
        return text or "", thought or "", str(reason) if reason else None

    def finish(self) -> Finish:
        """The last event."""
        if not self._complete:
            raise self._trouble("its reply was cut")
        if self._reason == "content_filter":
            raise EngineFailed(
                f"{self._server.client.name}: a filter of the server ended the answer",
                hint="Use another text, or another server.",
            )
        tokens = self._tokens if self._tokens is not None else self._deltas + self._thoughts
        thoughts = min(self._thoughts, tokens)
        reason: FinishReason = "length" if self._reason == "length" else "stop"
        ended = time.perf_counter()
        first = self._first or ended
        return Finish(reason, tokens - thoughts, (first - self._started, ended - first), thoughts)

    def _trouble(self, problem: str) -> ServerTrouble:
        return ServerTrouble(
            f"{self._server.client.name}: {problem}", hint="Check the server and its address."
        )
