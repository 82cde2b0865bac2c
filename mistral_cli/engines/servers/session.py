"""A session over one server or several with the same model."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.decoding.loop import token_limit
from mistral_cli.engines.decoding.score import check_score
from mistral_cli.engines.protocol import TimedSession, for_native_code
from mistral_cli.engines.servers.balance import MOST_TRIES
from mistral_cli.engines.servers.exchange import answer_events, exchange
from mistral_cli.engines.servers.neutral import spells_controls
from mistral_cli.engines.servers.scoring import scores
from mistral_cli.engines.servers.structured import fields_for, find_way, refuse_grammar
from mistral_cli.engines.servers.trouble import ServerTrouble
from mistral_cli.engines.types import PrefillProgress, ReasoningDelta, TextDelta
from mistral_cli.errors import AnswerInterrupted, EngineFailed
from mistral_cli.models.gguf.plain_text import tokenize_plain
from mistral_cli.models.remote import pack, unpack

if TYPE_CHECKING:
    from mistral_cli.engines.servers.balance import Server, ServerPool
    from mistral_cli.engines.types import Event, Request, ScoreRequest
    from mistral_cli.models.remote import RemoteModel

_REPEATED, _LONGEST_REPEATED = 256, 400  # as in `llama_cpp.server_session`
_JSON = re.compile(r"[\[{].*[\]}]", re.DOTALL)


class RemoteSession(TimedSession):
    """Sends each request to one of the servers of `pool`, and again to another if that fails.

    A request is not sent again once a part of its answer was passed on.
    """

    def __init__(
        self,
        pool: ServerPool,
        model: RemoteModel,
        context_length: int,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pool, self._model, self._context_length = pool, model, context_length
        self._warn, self._warned = warn, set[str]()
        self._repeated = lru_cache(_REPEATED)(lambda text: tuple(self._tokenized(text)))
        self._closed = False

    @property
    def context_length(self) -> int:
        """The shortest context of the servers, or what the user wants of it."""
        return self._context_length

    @property
    def alive(self) -> bool:
        """Whether it is open: its servers may come back."""
        return not self._closed

    def tokenize(self, text: str) -> list[int]:
        """Token ids from a server's tokenizer, or packed ones."""
        if self._model.packed:
            return pack(text)
        if len(text) > _LONGEST_REPEATED:
            return self._tokenized(text)
        return [*self._repeated(text)]

    def _tokenized(self, text: str) -> list[int]:
        return tokenize_plain(self._model, text, self._parse)

    def _parse(self, text: str) -> list[int]:
        clean = for_native_code(text).decode()

        def ask(server: Server) -> list[int]:
            assert server.facts.tokenizer
            return server.facts.tokenizer.tokenize(clean)

        return self._pool.call(ask)

    def stream(
        self, request: Request, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Stream the answer of a server. `timeout` does not count the time until one is free."""
        self._check_open()
        token_limit(request, self._context_length)
        return self._events(
            request, timeout, lambda server, end: self._answer(server, request, end)
        )

    def score(
        self, request: ScoreRequest, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Have a server score the continuations."""
        self._check_open()
        check_score(request, self._context_length)
        return self._events(
            request, timeout, lambda server, end: iter([scores(server, request, end)])
        )

    def close(self) -> None:
        """End the requests; the servers run on."""
        self._closed = True
        self._pool.close()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineFailed("the model is closed", hint="Open it again.")

    def _events(
        self,
        request: Request | ScoreRequest,
        timeout: float | None,
        ask: Callable[[Server, float | None], Iterator[Event]],
    ) -> Generator[Event, None, None]:
        """The events of `ask`, which gets a server and a deadline, from one that answers."""
        total, deadline, passed_on = len(request.prompt_token_ids), None, False
        tries = 0
        while True:
            lease = self._pool.take()
            if timeout is not None and deadline is None:
                deadline = time.monotonic() + timeout
            try:
                lease.check()
                yield PrefillProgress(0, total)
                for event in ask(lease.server, deadline):
                    passed_on |= isinstance(event, TextDelta | ReasoningDelta) and bool(event.text)
                    yield event
            except ServerTrouble as trouble:
                lease.failed(trouble)
                if self._closed:
                    raise EngineFailed("the model is closed", hint="Open it again.") from None
                if passed_on:
                    message = f"{trouble.message}, in the middle of an answer"
                    raise AnswerInterrupted(message, hint="Run the command again.") from trouble
                tries += trouble.received and not trouble.overloaded
                if tries >= MOST_TRIES:
                    raise
                if trouble.overloaded:  # it has not begun
                    deadline = None
            except GeneratorExit:
                lease.left()
                raise
            except BaseException:
                lease.ended()
                raise
            else:
                lease.ended()
                return

    def _answer(self, server: Server, request: Request, deadline: float | None) -> Iterator[Event]:
        structured, repairs = self._structured(server, request)
        self._warn_of_controls(server, request)
        asked = exchange(server, self._model, request, structured)
        chunks = server.client.stream(
            asked.path, asked.body, most_bytes=asked.most_bytes, deadline=deadline
        )
        with closing(chunks):
            answer = answer_events(chunks, request, server)
            if request.stream and not repairs:
                yield from answer
            else:
                yield from _at_once(answer, repairs=repairs)

    def _structured(self, server: Server, request: Request) -> tuple[Mapping[str, Any], bool]:
        """The fields that ask for JSON, and whether the answer must be searched for it."""
        if request.grammar is None:
            return {}, False
        grammars = self._model.tokenizer_model != "llama" and not request.written
        with server.probing:
            if server.structured is None:
                server.structured = find_way(server, self._model, self.tokenize, grammars=grammars)
        way = server.structured
        if request.schema is None:
            if way != "grammar":
                raise refuse_grammar(server.client.name)
        elif not way:
            self._warn_once(
                f"{server.client.name} cannot enforce a schema: the answers are checked, and "
                "asked for again if they are wrong"
            )
        if request.written:  # no server continues a grammar
            return {}, False
        return fields_for(way, request.schema, request.grammar), not way

    def _warn_of_controls(self, server: Server, request: Request) -> None:
        if not (self._model.packed and server.kind.parses_controls):
            return
        content = unpack(request.prompt_token_ids)
        texts = [content] if isinstance(content, str) else [each.content for each in content]
        if any(map(spells_controls, texts)):
            self._warn_once(
                "a text has what servers read as control tokens, such as </s>: an invisible "
                "character (U+2060) was put into each"
            )

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)


def _at_once(answer: Iterator[Event], *, repairs: bool) -> Iterator[Event]:
    """The events of an answer with its text as one; with `repairs` only the JSON in it.

    A model that nothing constrains writes Markdown around it.
    """
    text, tokens = "", 0
    others: list[Event] = []
    for event in answer:
        if isinstance(event, TextDelta):
            text, tokens = text + event.text, tokens + event.tokens
        elif isinstance(event, PrefillProgress | ReasoningDelta):
            yield event
        else:
            others.append(event)
    if repairs and (found := _JSON.search(text)) and _is_json(found[0]):
        text = found[0]
    if text:
        yield TextDelta(text, tokens=tokens)
    yield from others


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
