"""From the body of a request to its reply.

Requests are rendered by our own templates and reach the engine as token ids, so that nothing in
them can become a control token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from mistral_cli.engines.sampling import FileSampling
from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    ReasoningDelta,
    Request,
    TextDelta,
    Thinking,
    TokenLogprob,
)
from mistral_cli.errors import MistralCliError
from mistral_cli.models.chat.formats import fewest_tokens, tokenize_segments
from mistral_cli.models.chat.reasoning import find_reasoning
from mistral_cli.serving.http.closing import ClosedFinish, JsonClosing
from mistral_cli.serving.http.errors import ApiError, as_api_error, bad_request
from mistral_cli.serving.http.replies import Ending, ReplyWriter, Usage, model_fields

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from mistral_cli.engines.protocol import Session
    from mistral_cli.models.chat.reasoning import Reasoning, ReasoningFormat
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.serving.http.replies import Json
    from mistral_cli.serving.http.requests import ChatRequest, CompletionRequest
    from mistral_cli.serving.http.streams import AsyncStreams

MAX_BODY = 16 << 20
"""Bytes. English text for a context of 128,000 tokens takes less than one of the 16 MiB."""

_BODY_SECONDS = 30.0
_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]


@dataclass(frozen=True)
class ServedApi:
    """What the routes work with: `model`, loaded at the time `created` and known as `name`."""

    name: str
    created: int
    model: GGUF
    session: Session
    streams: AsyncStreams

    def prepare(self, request: ChatRequest | CompletionRequest) -> Request:
        """The request for the engine. Raises ApiError and MistralCliError."""
        reasoning = request.reasoning(self._reasoning)
        segments, context = request.render(self.model, reasoning), self.session.context_length
        if (fewest := fewest_tokens(segments, self.model)) > context:
            raise _too_long(f"more than {fewest}", context)
        ids = tokenize_segments(segments, self.model, self.session.tokenize)
        if not ids:
            raise bad_request("the prompt is empty", "prompt")
        if len(ids) >= context:
            raise _too_long(f"{len(ids)}", context)
        options = request.options
        return Request(
            ids,
            options.max_tokens or context,
            options.sampling,
            request.spec.grammar if request.spec else None,
            logprobs=options.logprobs,
            thinking=self._thinking(reasoning, context - len(ids), request),
        )

    def _thinking(
        self, reasoning: Reasoning | None, left: int, request: ChatRequest | CompletionRequest
    ) -> Thinking | None:
        """What the model may think with `left` tokens for that and the answer."""
        if reasoning is None:
            return None
        end = reasoning.end_for(constrained=request.spec is not None)
        limit = max(left - (request.options.max_tokens or 0), left // 2)
        return Thinking(reasoning.markers, end, reasoning.marker_tokens(self.model), limit)

    def closing(self, request: ChatRequest | CompletionRequest) -> JsonClosing | None:
        """How to close an answer that reaches its limit; None if it shall be cut there."""
        if not (request.spec and request.closes):
            return None
        context, sends = self.session.context_length, request.options.stream
        return JsonClosing(request.spec.bind(""), self.model, context, sends)

    @cached_property
    def fields(self) -> Json:
        """The model as /v1/models lists it."""
        context = self.session.context_length
        return model_fields(self.name, self.created, context, self.streams.slots, self.model)

    @cached_property
    def proposed(self) -> Mapping[str, float]:
        """The sampling settings in the model's file."""
        return FileSampling.of(self.model).values

    @cached_property
    def _reasoning(self) -> ReasoningFormat | None:
        return find_reasoning(self.model)


def _too_long(tokens: str, context: int) -> ApiError:
    message = f"the prompt has {tokens} tokens, and the context {context}, with the answer"
    return bad_request(message, code="context_length_exceeded")


@dataclass(frozen=True)
class AnsweringRoute:
    """Answers requests of one `kind` with replies of `writer`, as an ASGI application."""

    api: ServedApi
    kind: type[ChatRequest] | type[CompletionRequest]
    writer: type[ReplyWriter]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, unless the client hangs up. Raises ApiError and MistralCliError."""
        body = await _read(receive)
        if body is not None:
            await _unless_disconnected(receive, self._answer(body, scope, receive, send))

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        stream = _EventStream(send)
        try:
            reply = await self._reply(body, stream)
        except (ApiError, MistralCliError) as error:
            if not stream.started:
                raise
            await stream.write(as_api_error(error).body())
            await stream.end()
        else:
            if reply is not None:
                await JSONResponse(reply)(scope, receive, send)

    async def _reply(self, body: bytes, stream: _EventStream) -> Json | None:
        """The whole reply, or None once all of it was written to `stream`."""
        asked, request = await asyncio.to_thread(self._prepare, body)
        options, answer = asked.options, _Answer(len(request.prompt_token_ids))
        writer = self.writer(
            self.api.name, logprobs=options.logprobs, include_usage=options.include_usage
        )
        closing = self.api.closing(asked)
        async with aclosing(self.api.streams.events(request, options.stop, closing)) as events:
            async for event in events:
                answer.add(event)
                if not options.stream:
                    continue
                if isinstance(event, ReasoningDelta) and event.text:
                    await stream.write(writer.reasoning_chunk(event.text))
                elif isinstance(event, TextDelta) and (event.text or event.logprobs):
                    await stream.write(writer.chunk(event.text, event.logprobs))
        ending = answer.ending
        if asked.spec and ending.is_models_own:
            await asyncio.to_thread(asked.spec.bind("").parse, answer.text)
        if options.stream:
            await stream.write(writer.last_chunk(ending))
            if options.include_usage:
                await stream.write(writer.usage_chunk(answer.usage))
            await stream.end()
            return None
        thought = answer.reasoning.strip()
        return writer.whole(answer.text, thought, answer.logprobs, ending, answer.usage)

    def _prepare(self, body: bytes) -> tuple[ChatRequest | CompletionRequest, Request]:
        asked = self.kind.parse(body, self.api.proposed)
        return asked, self.api.prepare(asked)


@dataclass
class _Answer:
    """What has arrived of an answer to a prompt of `prompt_tokens`."""

    prompt_tokens: int
    text: str = ""
    reasoning: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish | None = None
    cached: int = 0

    def add(self, event: Event) -> None:
        """Add the next event."""
        match event:
            case PrefillProgress():
                self.cached = event.cached
            case ReasoningDelta():
                self.reasoning += event.text
            case TextDelta():
                self.text += event.text
                self.logprobs += event.logprobs
            case Finish():
                self.finish = event

    @property
    def ending(self) -> Ending:
        """Why it ended. Raises ApiError if the engine did not say so."""
        finish = self.finish
        if finish is None:
            raise ApiError(500, "the engine stopped without a result", code="engine_failed")
        closed = finish.paths if isinstance(finish, ClosedFinish) else None
        return Ending(finish.reason, finish.stop_text, closed)

    @property
    def usage(self) -> Usage:
        """The tokens of prompt and answer."""
        answered = self.finish.completion_tokens if self.finish else 0
        thought = self.finish.reasoning_tokens if self.finish else 0
        return Usage(self.prompt_tokens, thought + answered, self.cached, thought)


class _EventStream:
    """Server-sent events; the reply begins with the first one, so that until then it can fail."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def write(self, event: Json) -> None:
        """Send one event."""
        if not self.started:
            self.started = True
            await self._send(
                {"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM}
            )
        await self._write(json.dumps(event), more=True)

    async def end(self) -> None:
        """Send the event that ends the stream."""
        await self._write("[DONE]", more=False)

    async def _write(self, data: str, *, more: bool) -> None:
        body = f"data: {data}\n\n".encode()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


async def _read(receive: Receive) -> bytes | None:
    """Read the body; None if the client hangs up. Raises ApiError if it is too large or slow."""
    body, size, more = bytearray(), 0, True
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while more:
                event = await receive()
                if event["type"] == "http.disconnect":
                    return None
                part, more = event.get("body", b""), event.get("more_body", False)
                size += len(part)
                # Read it to its end anyway: most clients do not read a reply while they send.
                body += part if size <= MAX_BODY else b""
    except TimeoutError as error:
        message = f"the body did not arrive within {_BODY_SECONDS:.0f} seconds"
        raise ApiError(408, message) from error
    if size > MAX_BODY:
        raise ApiError(413, f"the body has {size} bytes; {MAX_BODY} are the most")
    return bytes(body)


async def _unless_disconnected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do `work` until it is done or the client hangs up. Raises what it raises."""
    task = asyncio.create_task(work)
    disconnection = asyncio.create_task(_disconnection(receive))
    try:
        await asyncio.wait((task, disconnection), return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()  # without effect if it is done
        disconnection.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
