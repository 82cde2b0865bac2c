"""A session on a llama.cpp server that is running, whoever started it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.decoding.loop import decode, token_limit
from mistral_cli.engines.decoding.streams import BackgroundStreams, Emit
from mistral_cli.engines.llama_cpp.client import Client, engine_failed
from mistral_cli.engines.llama_cpp.completion import (
    complete,
    completion,
    progress_to,
    reading,
    without,
)
from mistral_cli.engines.llama_cpp.constrained import Drawing
from mistral_cli.engines.protocol import ListenAddress, Session, for_native_code
from mistral_cli.models.gguf.token_text import token_bytes
from mistral_cli.system.scratch import scratch_folder

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.constraint import Constraint
    from mistral_cli.engines.llama_cpp.slot_state import PrefixStates
    from mistral_cli.engines.types import Event, Request
    from mistral_cli.models.gguf import GGUF

MORE_HTTP_THREADS = 2
"""Than streams: for those that were closed a moment ago, and for questions."""

NO_ORIGIN = "null.invalid"
"""An origin for CORS that is none: by default every web page that asks is allowed."""


def private_listening(resources: ExitStack) -> ListenAddress:
    """A socket in a new folder that goes with `resources`, and a key: for this process alone."""
    folder = resources.enter_context(scratch_folder())
    return ListenAddress(folder / "s.sock", (os.urandom(16).hex(),))


class ServerSession(Session):
    """Streams from the server that `client` talks to, which has `model` loaded.

    `context_length` is that of one slot in tokens, `slots` how many of them are ours, the
    first of all; `knows_grammars` whether the server was built with llguidance.
    `states` brings its slots into the states after prefixes; a server that others ask too,
    whose slots change under us, has none.
    """

    def __init__(
        self,
        client: Client,
        model: GGUF,
        *,
        context_length: int,
        slots: int = 1,
        gpu_layers: int = 0,
        knows_grammars: bool = True,
        states: PrefixStates | None = None,
    ) -> None:
        self._client, self._model = client, model
        self._context_length, self._gpu_layers = context_length, gpu_layers
        # The llguidance inside llama.cpp reads the tokens of SentencePiece vocabularies
        # without their leading space: "▁" becomes an empty token, and JSON breaks.
        self.knows_grammars = knows_grammars
        self._leaves_grammars = knows_grammars and model.tokenizer_model != "llama"
        self._states = states
        self._background = BackgroundStreams(slots)
        self._llguidance: Any = None
        self._closed = False

    @property
    def context_length(self) -> int:
        """See Session."""
        return self._context_length

    @property
    def pid(self) -> int:
        """The process that has the weights."""
        return os.getpid()

    @property
    def gpu_layers(self) -> int:
        """See Session."""
        return self._gpu_layers

    def tokenize(self, text: str) -> list[int]:
        """See Session."""
        self._check_open()
        body = {
            "content": for_native_code(text).decode(),
            "add_special": False,
            "parse_special": False,
        }
        reply = self._client.post("/tokenize", body)
        return [int(token) for token in reply["tokens"]]

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """See Session."""
        self._check_open()
        limit = token_limit(request, self._context_length)
        return self._background.run(lambda emit, slot: self._complete(slot, request, limit, emit))

    def close(self) -> None:
        """See Session: the streams end; the server belongs to whoever started it."""
        self._closed = True
        self._background.stop()

    def _check_open(self) -> None:
        if self._closed:
            raise engine_failed("the model is closed")

    def _complete(self, slot: int, request: Request, limit: int, emit: Emit) -> None:
        body = completion(request.prompt_token_ids, request.sampling, limit, slot)
        body["ignore_eos"] = request.ignore_eos
        if request.grammar is not None and self._leaves_grammars:
            from mistral_cli.engines.decoding.constraint import refuse_uncompilable

            # It would answer with free text to a grammar that it cannot compile.
            refuse_uncompilable(request.grammar)
        if self._states:
            fresh = self._states.prepare(slot, request, reading(self._client, body, emit))
            if fresh is None:
                return
            emit = without(fresh, emit)
        if self._answer(slot, body, request, limit, emit) and self._states:
            self._states.holds(slot, request.prompt_token_ids)

    def _answer(
        self, slot: int, body: dict[str, Any], request: Request, limit: int, emit: Emit
    ) -> bool:
        """False when nobody waits for the rest any more."""
        if request.grammar is None:
            return complete(self._client, body, emit, whole=request.whole)
        if self._leaves_grammars:
            body["grammar"] = request.grammar
            return complete(self._client, body, emit, whole=request.whole)
        constraint = self._constraint(request.grammar)
        if not complete(self._client, {**body, "max_tokens": 1}, progress_to(emit)):
            return False
        drawing = Drawing(self._model, self._client, request, slot)
        ends = (self._model.eos_id, self._model.eot_id)
        decode(drawing, limit=limit, ends=ends, constraint=constraint, emit=emit)
        return True

    def _constraint(self, grammar: str) -> Constraint:
        from mistral_cli.engines.decoding.constraint import (
            Constraint,
            llguidance_tokenizer,
        )

        if self._llguidance is None:
            model = self._model
            self._llguidance = llguidance_tokenizer(
                model, self.tokenize, lambda token: token_bytes(model, token)
            )
        return Constraint(self._llguidance, grammar, len(self._model.tokens))
