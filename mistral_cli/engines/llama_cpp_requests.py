"""What is asked of the llama.cpp server, and what its answers mean."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.base import (
    PENALTY_WINDOW,
    Event,
    Finish,
    Piece,
    PromptProgress,
    Request,
    Sampling,
)
from mistral_cli.gguf.token_text import token_bytes

if TYPE_CHECKING:
    from mistral_cli.engines.background import Emit
    from mistral_cli.engines.constraint import Mask
    from mistral_cli.engines.llama_cpp_socket import Client
    from mistral_cli.gguf import GGUF

# A grammar of as many tokens costs 6 ms, to forbid as many 1 ms. Most masks are so: they leave
# little choice, or are those of a text.
_FEW_ALLOWED, _FEW_FORBIDDEN = 100, 1000

# As many probabilities cost 1 ms. A model that means to write JSON rarely needs more, which
# would cost a second evaluation.
_LIKELIEST = 64


@dataclass
class Drawing:
    """Draws one token a request, among those that the server is told to allow."""

    model: GGUF
    client: Client
    request: Request
    slot: int

    def __post_init__(self) -> None:
        self._tokens = list(self.request.prompt_token_ids)
        self._random = random.Random(self.request.sampling.seed)

    def draw(self, allowed: Mask | None) -> int:
        """See Model."""
        if allowed is None:
            return self._draw({})
        few = _few(allowed, self.model)
        sampling = self.request.sampling
        if few is None and sampling.temperature <= 0 and sampling.repetition_penalty == 1.0:
            for token in self._likeliest():
                if allowed[token]:
                    return token
        return self._draw(few or _forbid(~allowed))

    def _draw(self, restriction: dict[str, Any]) -> int:
        asked = {"seed": self._random.getrandbits(31), "return_tokens": True}
        return int(self._next("tokens", asked | restriction)[0])

    def _likeliest(self) -> Iterator[int]:
        """Some tokens, the likeliest first: to forbid the rest is what costs time."""
        (step,) = self._next("completion_probabilities", {"n_probs": _LIKELIEST})
        return (int(choice["id"]) for choice in step["top_logprobs"])

    def _next(self, field: str, asked: dict[str, Any]) -> Any:
        body = completion(self._tokens, self.request.sampling, 1, self.slot) | asked
        # Unlike /v1/completions this gives the id of a token that ends inside a character.
        reply = self.client.post(
            "/completion", body | {"stream": False, "response_fields": [field]}
        )
        return reply[field]

    def extend(self, tokens: Sequence[int]) -> None:
        """See Model."""
        self._tokens += tokens

    def token_bytes(self, token: int) -> bytes:
        """See Model."""
        return token_bytes(self.model, token)


def _few(allowed: Mask, model: GGUF) -> dict[str, Any] | None:
    """Let the server draw among the `allowed` tokens; None where it takes long to tell it so."""
    if allowed.sum() <= _FEW_ALLOWED:
        tokens = allowed.nonzero()[0].tolist()
        # llama.cpp's grammars decide themselves where a text may end.
        if model.eos_id not in tokens and _whole_characters(model, tokens):
            return {"grammar": "root ::= " + " | ".join(f"<[{token}]>" for token in tokens)}
    return _forbid(~allowed) if (~allowed).sum() <= _FEW_FORBIDDEN else None


def _forbid(tokens: Mask) -> dict[str, Any]:
    """Keep the server from `tokens`; it takes 25 ms where they are most of a vocabulary."""
    return {"logit_bias": [[token, False] for token in tokens.nonzero()[0].tolist()]}


def _whole_characters(model: GGUF, tokens: Sequence[int]) -> bool:
    """Whether llama.cpp's own grammars know `tokens` by number: not those of a lone byte."""
    try:
        return all(token_bytes(model, token).decode() for token in tokens)
    except UnicodeDecodeError:
        return False


def complete(client: Client, body: dict[str, Any], emit: Emit) -> bool:
    """Emit what the server streams; False when nobody waits any more."""
    with contextlib.closing(client.stream("/v1/completions", body)) as chunks:
        for chunk in chunks:
            for event in _events(chunk):
                if not emit(event):
                    return False
    return True


def progress_to(emit: Emit) -> Emit:
    """Hand on the progress alone."""
    return lambda event: emit(event) if isinstance(event, PromptProgress) else True


def reading(client: Client, body: dict[str, Any], emit: Emit) -> Callable[[Sequence[int]], bool]:
    """How the slot of the request `body` reads the first tokens of its prompt, and no more."""
    total = len(body["prompt"])

    def progress(event: Event) -> bool:
        if isinstance(event, PromptProgress):
            return emit(PromptProgress(event.done, total, event.cached))
        return True

    # At least one token is always drawn; nothing reads it.
    return lambda tokens: complete(
        client, {**body, "prompt": list(tokens), "max_tokens": 1}, progress
    )


def without(fresh: int, emit: Emit) -> Emit:
    """Count as cached but what was so before this request read `fresh` tokens of its own."""

    def counted(event: Event) -> bool:
        if isinstance(event, PromptProgress):
            return emit(PromptProgress(event.done, event.total, max(0, event.cached - fresh)))
        return emit(event)

    return counted


def _events(chunk: dict[str, Any]) -> Iterator[Event]:
    """Translate one chunk of a streamed reply."""
    if progress := chunk.get("prompt_progress"):
        yield PromptProgress(progress["processed"], progress["total"], progress["cache"])
        return
    for choice in chunk.get("choices", ()):
        reason = choice.get("finish_reason")
        # Cutting at the limit can leave half a character, which arrives as U+FFFD.
        text = choice["text"].rstrip("\ufffd") if reason == "length" else choice["text"]
        if text or not reason:
            yield Piece(text)
        if reason:
            tokens = chunk.get("usage", {}).get("completion_tokens", 0)
            yield Finish("length" if reason == "length" else "stop", tokens)


def completion(prompt: Sequence[int], sampling: Sampling, limit: int, slot: int) -> dict[str, Any]:
    """A request for up to `limit` tokens after `prompt`.

    It names its `slot`, or llama.cpp would give it one whose text begins alike: that of a
    stream which is drawn token by token, and would then have to read its prompt again.
    """
    return {
        "id_slot": slot,
        "prompt": list(prompt),
        "max_tokens": limit,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": 0.0,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": PENALTY_WINDOW,
        "samplers": ["penalties", "top_k", "top_p", "temperature"],
        "seed": sampling.seed % 0xFFFFFFFF,  # 0xFFFFFFFF means a new one each time
        "stream": True,
        "return_progress": True,
    }
