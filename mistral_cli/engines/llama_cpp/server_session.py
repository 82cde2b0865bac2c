"""A session on a llama.cpp server that is running, whoever started it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.decoding.loop import decode, token_limit
from mistral_cli.engines.decoding.score import check_score, score
from mistral_cli.engines.decoding.streams import Emit, ThreadedStreams
from mistral_cli.engines.llama_cpp.client import LlamaServerClient, engine_failed
from mistral_cli.engines.llama_cpp.completion import (
    NotANumber,
    complete,
    completion,
    discount_cached,
    marking,
    prefill,
    progress_only,
    without_logprobs,
)
from mistral_cli.engines.llama_cpp.constrained import ConstrainedSampler
from mistral_cli.engines.llama_cpp.scoring import SlotScorer
from mistral_cli.engines.llama_cpp.unmasked import UnmaskedSampler
from mistral_cli.engines.not_a_number import not_a_number
from mistral_cli.engines.protocol import ListenAddress, Session, for_native_code
from mistral_cli.engines.types import Sampling
from mistral_cli.models.gguf.checks import is_recurrent
from mistral_cli.models.gguf.plain_text import tokenize_continued, tokenize_plain
from mistral_cli.models.gguf.token_text import token_bytes
from mistral_cli.system.files import scratch_folder

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.constraint import Constraint
    from mistral_cli.engines.llama_cpp.slot_state import PrefixStates
    from mistral_cli.engines.types import Event, Request, ScoreRequest
    from mistral_cli.errors import MistralCliError
    from mistral_cli.models.gguf import GGUF


# What a chat format puts around a text is the same in each prompt of a batch. Four of five requests
# to tokenize 5,000 short rows were for that, and two thirds of the time to plan them.
_REPEATED, _LONGEST_REPEATED = 256, 400

_BY_NUMBER = re.compile(r"\[x\{([0-9a-f]{1,5})\}\]")
"""A character as `structured.patterns` writes it, without its backslash."""


_GREEDY = Sampling(temperature=0.0, top_k=1, top_p=1.0, repetition_penalty=1.0, seed=0)


def private_listening(resources: ExitStack) -> ListenAddress:
    """A socket in a new folder, which `resources` removes, and a key: for this process only."""
    folder = resources.enter_context(scratch_folder())
    return ListenAddress(folder / "s.sock", os.urandom(16).hex())


class ServerSession(Session):
    """Streams from the server that `client` talks to, which has `model` loaded.

    `context_length` is the context of one slot in tokens. `slots` is how many slots are ours,
    counted from the first. `knows_grammars` tells whether the server was built with llguidance.
    `states` restores prefixes in the slots; a server with other clients has none, because they
    change its slots.
    """

    def __init__(
        self,
        client: LlamaServerClient,
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
        self._background = ThreadedStreams(slots)
        self._repeated = lru_cache(_REPEATED)(self._tokenized)
        self._llguidance: Any = None
        self._closed = self._computes_numbers = False
        self._fault: MistralCliError | None = None

    @property
    def context_length(self) -> int:
        """The context of one slot."""
        return self._context_length

    @property
    def pid(self) -> int:
        """The id of the process that has loaded the weights."""
        return os.getpid()

    @property
    def gpu_layers(self) -> int:
        """The layers on the GPU when the server started."""
        return self._gpu_layers

    def tokenize(self, text: str) -> list[int]:
        """Token ids from the server's tokenizer."""
        self._check_open()
        if len(text) > _LONGEST_REPEATED:
            return tokenize_plain(self._model, text, self._parse)
        return [*self._repeated(text)]

    def _tokenized(self, text: str) -> tuple[int, ...]:
        return tuple(tokenize_plain(self._model, text, self._parse))

    def _parse(self, text: str) -> list[int]:
        body = {
            "content": for_native_code(text).decode(),
            "add_special": False,
            "parse_special": False,
        }
        reply = self._client.post("/tokenize", body)
        return [int(token) for token in reply["tokens"]]

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """Send the request to a free slot, from a thread."""
        self._check_open()
        limit = token_limit(request, self._context_length)
        return self._run(request, lambda slot, emit: self._complete(slot, request, limit, emit))

    def score(self, request: ScoreRequest) -> Generator[Event, None, None]:
        """Walk the trie in a free slot, from a thread."""
        self._check_open()
        check_score(request, self._context_length)
        return self._run(request, lambda slot, emit: self._score(slot, request, emit))

    def close(self) -> None:
        """End the streams; the server belongs to whoever started it."""
        self._closed = True
        self._background.stop()

    def _check_open(self) -> None:
        if self._closed:
            raise engine_failed("the model is closed")

    def _run(
        self, request: Request | ScoreRequest, work: Callable[[int, Emit], None]
    ) -> Generator[Event, None, None]:
        """The events of `work`, which gets a slot."""
        total = len(request.prompt_token_ids)
        return self._background.run(
            lambda emit, slot: self._in_slot(slot, total, emit, lambda slot: work(slot, emit))
        )

    def _in_slot(
        self,
        slot: int,
        total: int,  # noqa: ARG002
        emit: Emit,  # noqa: ARG002
        work: Callable[[int], None],
    ) -> None:
        """Do `work` in `slot`, for a prompt of `total` tokens."""
        work(slot)

    def _complete(self, slot: int, request: Request, limit: int, emit: Emit) -> None:
        with self._computing():
            if self._complete_checked(slot, request, limit, emit):
                self._computes_numbers = True

    def _score(self, slot: int, request: ScoreRequest, emit: Emit) -> None:
        with self._computing():
            if self._states:
                body = completion(request.prompt_token_ids, _GREEDY, 1, slot)
                fresh = self._states.prepare(slot, request, prefill(self._client, body, emit))
                if fresh is None:
                    return
                emit = discount_cached(fresh, emit)
            checks = not self._computes_numbers
            score(SlotScorer(self._client, request, slot, emit, checks), request, emit)
            self._computes_numbers = True
            if self._states:
                self._states.holds(slot, request.prompt_token_ids)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Raise the same error for this request and all later ones, if it computes NaN."""
        if self._fault:
            raise self._fault
        try:
            yield
        except NotANumber:
            self._fault = not_a_number(self._model, self._gpu_layers)
            raise self._fault from None

    def _complete_checked(self, slot: int, request: Request, limit: int, emit: Emit) -> bool:
        """Complete the request. Returns False when the reader has left; raises NotANumber."""
        body = completion(request.prompt_token_ids, request.sampling, limit, slot)
        body["ignore_eos"] = request.ignore_eos
        if request.logprobs is not None:
            body["n_probs"] = max(1, request.logprobs)  # with 0 it reports none at all
        elif not self._computes_numbers:
            # The server samples from NaN as if nothing had happened. Weights that are damaged show
            # in any answer, so the first is enough: probabilities take 0.2 ms per token.
            body["n_probs"], emit = 1, without_logprobs(emit)
        if request.thinking:
            markers = [text for _, text in request.thinking.tokens]
            body["preserved_tokens"] = markers  # else the text of control tokens is left out
            emit = marking(emit, markers)
        if request.grammar is not None and self._leaves_grammars:
            from mistral_cli.engines.decoding.constraint import refuse_uncompilable

            # The server answers with free text if it cannot compile a grammar.
            refuse_uncompilable(request.grammar)
        if self._states:
            fresh = self._states.prepare(slot, request, prefill(self._client, body, emit))
            if fresh is None:
                return False
            emit = discount_cached(fresh, emit)
        answered = self._answer(slot, body, request, limit, emit)
        if answered and self._states:
            self._states.holds(slot, request.prompt_token_ids)
        return answered

    def _answer(
        self, slot: int, body: dict[str, Any], request: Request, limit: int, emit: Emit
    ) -> bool:
        """Emit the answer. Returns False when the reader has left."""
        if request.grammar is None:
            return complete(self._client, body, emit, stream=request.stream)
        # To go back by one token, a recurrent model would have to evaluate its prompt again.
        loose = request.loose and not is_recurrent(self._model)
        # The server cannot be given the beginning of an output, only a whole one to produce.
        leaves = self._leaves_grammars and not request.written and not loose
        if leaves and not self._spells_control_token(request.grammar):
            body["grammar"] = request.grammar
            return complete(self._client, body, emit, stream=request.stream)
        constraint = self._constraint(request.grammar, request.written)
        if not complete(self._client, {**body, "max_tokens": 1}, progress_only(emit)):
            return False
        ends = (self._model.eos_id, self._model.eot_id)
        if not loose:
            sampler = ConstrainedSampler(self._model, self._client, request, slot)
            decode(sampler, limit=limit, ends=ends, constraint=constraint, emit=emit)
            return True
        with closing(
            UnmaskedSampler(self._model, self._client, request, slot, self._spell)
        ) as free:
            decode(free, limit=limit, ends=ends, constraint=constraint, emit=emit, loose=True)
        return True

    def _spell(self, text: str) -> list[int]:
        return tokenize_continued(self._model, text, self.tokenize)

    def _spells_control_token(self, grammar: str) -> bool:
        """Whether the server could write a control token in place of its characters.

        Where only one text can follow, the llguidance inside llama.cpp tokenizes that text with
        control tokens: for the constant "<|im_end|>" it ends the answer.
        """
        plain = grammar.replace("\\", "")  # as JSON, or a regular expression, spells it
        plain = _BY_NUMBER.sub(lambda match: chr(int(match[1], 16)), plain)
        texts = [text for text in self._model.control_tokens if len(text) > 1]
        spellings = (text for each in texts for text in (each, json.dumps(each)[1:-1]))
        return any(text.replace("\\", "") in plain for text in spellings)

    def _constraint(self, grammar: str, written: str) -> Constraint:
        from mistral_cli.engines.decoding.constraint import (
            Constraint,
            llguidance_tokenizer,
        )

        if self._llguidance is None:
            model = self._model
            self._llguidance = llguidance_tokenizer(
                model, self.tokenize, lambda token: token_bytes(model, token)
            )
        return Constraint(self._llguidance, grammar, len(self._model.tokens), written)
