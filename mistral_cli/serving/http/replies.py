"""The JSON objects that answer a request, written field by field as OpenAI's API does."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mistral_cli.structured.spans import pointer

if TYPE_CHECKING:
    from mistral_cli.engines.types import FinishReason, TokenLogprob
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.structured.closing import ClosedPaths

Json = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """The tokens of a request and its answer; `cached` of the prompt's needed no prefill.

    `reasoning` of those of the completion are the thought before the answer.
    """

    prompt: int
    completion: int
    cached: int
    reasoning: int = 0

    def fields(self) -> Json:
        """The object `usage`."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


@dataclass(frozen=True)
class Ending:
    """How an answer ended: `reason` is one of OpenAI's, since clients refuse others.

    `stop_text` is the stop text that ended it, if one did. `closed` has the places of JSON that
    reached its limit and was closed there.
    """

    reason: FinishReason
    stop_text: str | None = None
    closed: ClosedPaths | None = None

    @property
    def is_models_own(self) -> bool:
        """Whether the model ended the answer itself."""
        return self.reason == "stop" and self.stop_text is None and self.closed is None

    def fields(self) -> Json:
        """The fields of a choice."""
        fields: Json = {"finish_reason": self.reason}
        if self.stop_text is not None:
            fields["stop_reason"] = self.stop_text  # vLLM's name for it
        if self.closed:
            cut, placeholders = self.closed.cut, self.closed.placeholders
            fields["closed"] = {
                "cut": [pointer(path) for path in cut],
                "placeholders": [pointer(path) for path in placeholders],
            }
        return fields


class ReplyWriter(ABC):
    """Writes the reply to one request: `whole`, or as chunks in the order of its methods."""

    kind: ClassVar[str]
    chunk_kind: ClassVar[str]
    id_prefix: ClassVar[str]

    def __init__(self, model: str, *, logprobs: int | None, include_usage: bool) -> None:
        """`model` is the name of the model that answers; the rest is as in the request."""
        self._model = model
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._id = self.id_prefix + secrets.token_hex(12)
        self._created = int(time.time())
        self._written = False
        self._length = 0

    def whole(
        self,
        text: str,
        reasoning: str,
        logprobs: Sequence[TokenLogprob],
        ending: Ending,
        usage: Usage,
    ) -> Json:
        """The whole reply."""
        choice = {
            "index": 0,
            **self._text(text, reasoning),
            "logprobs": self._logprobs_of(logprobs),
            **ending.fields(),
        }
        return {**self._head(self.kind), "choices": [choice], "usage": usage.fields()}

    def chunk(self, text: str, logprobs: Sequence[TokenLogprob]) -> Json:
        """A piece of text."""
        return self._chunk(self._delta(text), self._logprobs_of(logprobs), None)

    def reasoning_chunk(self, text: str) -> Json:
        """A piece of the thought before the answer."""
        return self._chunk(self._delta("", text), None, None)

    def last_chunk(self, ending: Ending) -> Json:
        """Why the text ended."""
        return self._chunk(self._delta(""), None, ending)

    def usage_chunk(self, usage: Usage) -> Json:
        """The number of tokens, for a request with `include_usage`."""
        return {**self._head(self.chunk_kind), "choices": [], "usage": usage.fields()}

    def _chunk(self, delta: Json, logprobs: Json | None, ending: Ending | None) -> Json:
        end = ending.fields() if ending else {"finish_reason": None}
        choice = {"index": 0, **delta, "logprobs": logprobs, **end}
        no_usage = {"usage": None} if self._include_usage else {}
        return {**self._head(self.chunk_kind), "choices": [choice], **no_usage}

    def _head(self, kind: str) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _logprobs_of(self, tokens: Sequence[TokenLogprob]) -> Json | None:
        return None if self._logprobs is None else self._token_fields(tokens)

    @abstractmethod
    def _text(self, text: str, reasoning: str) -> Json:
        """The fields of a whole text, and of the thought before it."""

    @abstractmethod
    def _delta(self, text: str, reasoning: str = "") -> Json:
        """The fields of a piece of either; both are empty at the end."""

    @abstractmethod
    def _token_fields(self, tokens: Sequence[TokenLogprob]) -> Json:
        """The object `logprobs`."""


class ChatWriter(ReplyWriter):
    """The replies of /v1/chat/completions."""

    kind, chunk_kind, id_prefix = "chat.completion", "chat.completion.chunk", "chatcmpl-"

    def _text(self, text: str, reasoning: str) -> Json:
        # The name that vLLM, llama-server and DeepSeek's API have for the thought.
        thought = {"reasoning_content": reasoning} if reasoning else {}
        return {"message": {"role": "assistant", "content": text, "refusal": None, **thought}}

    def _delta(self, text: str, reasoning: str = "") -> Json:
        role = {} if self._written else {"role": "assistant"}
        self._written = True
        pieces = {"content": text, "reasoning_content": reasoning}
        return {"delta": {**role, **{name: piece for name, piece in pieces.items() if piece}}}

    def _token_fields(self, tokens: Sequence[TokenLogprob]) -> Json:
        content = [
            {
                **_token(token),
                "top_logprobs": [_token(each) for each in token.likeliest[: self._logprobs]],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}


class CompletionWriter(ReplyWriter):
    """The replies of /v1/completions."""

    kind = chunk_kind = "text_completion"
    id_prefix = "cmpl-"

    def _text(self, text: str, reasoning: str) -> Json:  # noqa: ARG002 - a prompt without turns
        return {"text": text}

    def _delta(self, text: str, reasoning: str = "") -> Json:  # noqa: ARG002
        return {"text": text}

    def _token_fields(self, tokens: Sequence[TokenLogprob]) -> Json:
        offsets = []
        for token in tokens:
            offsets.append(self._length)
            self._length += len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {each.text: each.logprob for each in token.likeliest[: self._logprobs]}
                for token in tokens
            ],
            "text_offset": offsets,
        }


def model_fields(name: str, created: int, context_length: int, slots: int, model: GGUF) -> Json:
    """A model as /v1/models lists it; `created` is when it was loaded.

    What OpenAI's API does not have is named as in vLLM (`max_model_len`) and llama.cpp (`meta`).
    """
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "mistral-cli",
        "max_model_len": context_length,
        "slots": slots,
        "meta": {"n_vocab": len(model.tokens), "n_params": model.parameters},
    }


def _token(token: TokenLogprob) -> Json:
    return {"token": token.text, "bytes": list(token.bytes), "logprob": token.logprob}
