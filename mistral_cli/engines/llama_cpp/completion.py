"""Completion requests to the llama.cpp server, and their replies as events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    Sampling,
    TextDelta,
    TokenLogprob,
)
from mistral_cli.errors import EngineFailed

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.streams import Emit
    from mistral_cli.engines.llama_cpp.client import LlamaServerClient


class NotANumber(EngineFailed):
    """The model computed NaN instead of the probability of a token."""


def complete(
    client: LlamaServerClient, body: dict[str, Any], emit: Emit, *, stream: bool = True
) -> bool:
    """Emit the answer to `body`, as the server streams it or at once.

    Returns False when the reader has left. Raises NotANumber, if `body` asks for "n_probs".
    """
    if not stream:
        return _complete_at_once(client, body, emit)
    with contextlib.closing(client.stream("/v1/completions", body)) as chunks:
        for chunk in chunks:
            for event in _events(chunk):
                if not emit(event):
                    return False
    return True


def _complete_at_once(client: LlamaServerClient, body: dict[str, Any], emit: Emit) -> bool:
    """Emit the whole answer when it is complete.

    Each delta would wake the server, us and the reader while all cores are at work. Without
    them SmolLM2 generates 4 to 5 % more tokens a second in 8 slots on 2 cores.
    """

    def is_wanted() -> bool:
        client.wait_ready()  # a server that hangs must not look alive
        return emit(TextDelta("", tokens=0))

    at_once = {**body, "stream": False, "return_progress": False}
    reply = client.post_while("/v1/completions", at_once, is_wanted)
    if reply is None:
        return False
    times, total = reply["timings"], len(body["prompt"])
    seconds = times["prompt_ms"] / 1000, times["predicted_ms"] / 1000
    events = [replace(e, seconds=seconds) if isinstance(e, Finish) else e for e in _events(reply)]
    tokens = reply["usage"]["completion_tokens"]
    events = [replace(e, tokens=tokens) if isinstance(e, TextDelta) else e for e in events]
    return all(map(emit, (PrefillProgress(total, total, times["cache_n"]), *events)))


def marking(emit: Emit, markers: Collection[str]) -> Emit:
    """An `emit` that sets `TextDelta.marker` where the text is one of the `markers`.

    A token has a delta of its own, so no other tokens can give the same delta.
    """

    def marked(event: Event) -> bool:
        if isinstance(event, TextDelta) and event.text in markers:
            event = replace(event, marker=True)
        return emit(event)

    return marked


def progress_only(emit: Emit) -> Emit:
    """An `emit` that passes on the prefill progress and nothing else."""
    return lambda event: emit(event) if isinstance(event, PrefillProgress) else True


def without_logprobs(emit: Emit) -> Emit:
    """An `emit` that leaves out the log probabilities, which the request does not ask for."""

    def plain(event: Event) -> bool:
        return emit(replace(event, logprobs=()) if isinstance(event, TextDelta) else event)

    return plain


def prefill(
    client: LlamaServerClient, body: dict[str, Any], emit: Emit
) -> Callable[[Sequence[int]], bool]:
    """A function that prefills the first tokens of the prompt of `body` in its slot."""
    total = len(body["prompt"])

    def progress(event: Event) -> bool:
        if isinstance(event, PrefillProgress):
            return emit(PrefillProgress(event.done, total, event.cached))
        return True

    # The server always samples at least one token; nothing reads it.
    return lambda tokens: complete(
        client, {**body, "prompt": list(tokens), "max_tokens": 1}, progress
    )


def discount_cached(fresh: int, emit: Emit) -> Emit:
    """An `emit` that does not count `fresh` tokens as cached, which this request prefilled."""

    def discounted(event: Event) -> bool:
        if isinstance(event, PrefillProgress):
            return emit(PrefillProgress(event.done, event.total, max(0, event.cached - fresh)))
        return emit(event)

    return discounted


def _events(chunk: dict[str, Any]) -> Iterator[Event]:
    """The events in one chunk of a reply."""
    if progress := chunk.get("prompt_progress"):
        yield PrefillProgress(progress["processed"], progress["total"], progress["cache"])
        return
    for choice in chunk.get("choices", ()):
        _check_numbers(choice)
        reason = choice.get("finish_reason")
        # A cut at the limit can leave half a character, which arrives as U+FFFD.
        text = choice["text"].rstrip("\ufffd") if reason == "length" else choice["text"]
        if text or not reason:
            yield TextDelta(text, _logprobs(choice))
        if reason:
            tokens = chunk.get("usage", {}).get("completion_tokens", 0)
            yield Finish("length" if reason == "length" else "stop", tokens)


def _check_numbers(choice: dict[str, Any]) -> None:
    for token in (choice.get("logprobs") or {}).get("content", ()):
        # In JSON, NaN is null. The likeliest token of a vocabulary never has the probability 0.
        if any(likeliest["logprob"] is None for likeliest in token["top_logprobs"][:1]):
            raise NotANumber("the model computes no numbers (NaN)", hint="Use another model.")


def _logprobs(choice: dict[str, Any]) -> tuple[TokenLogprob, ...]:
    tokens = (choice.get("logprobs") or {}).get("content", ())
    return tuple(
        TokenLogprob(
            token["token"],
            tuple(token["bytes"]),
            token["logprob"],
            tuple(
                TokenLogprob(other["token"], tuple(other["bytes"]), other["logprob"])
                for other in token["top_logprobs"]
            ),
        )
        for token in tokens
        if token["bytes"]  # the token that ends the answer has none
    )


def completion(prompt: Sequence[int], sampling: Sampling, limit: int, slot: int) -> dict[str, Any]:
    """A request for up to `limit` tokens after `prompt`.

    It names its `slot`. Otherwise llama.cpp would pick a slot whose text begins in the same way:
    that of a stream sampled token by token, which would then have to prefill its prompt again.
    """
    return {
        "id_slot": slot,
        "prompt": list(prompt),
        "max_tokens": limit,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": sampling.repeat_last_n,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "dry_multiplier": sampling.dry_multiplier,
        "dry_base": sampling.dry_base,
        "dry_allowed_length": sampling.dry_allowed_length,
        "dry_penalty_last_n": sampling.dry_penalty_last_n,
        "xtc_probability": 0.0,
        "mirostat": 0,  # the others would replace these samplers
        "samplers": ["penalties", "dry", "top_k", "top_p", "min_p", "temperature"],
        "seed": sampling.seed % 0xFFFFFFFF,  # 0xFFFFFFFF means a new seed each time
        "stream": True,
        "return_progress": True,
    }
