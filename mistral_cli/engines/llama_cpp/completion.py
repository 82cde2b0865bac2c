"""What is asked of the llama.cpp server, and what its answers mean."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.types import (
    PENALTY_WINDOW,
    Event,
    Finish,
    PrefillProgress,
    Sampling,
    TextDelta,
)

if TYPE_CHECKING:
    from mistral_cli.engines.decoding.streams import Emit
    from mistral_cli.engines.llama_cpp.client import Client


def complete(client: Client, body: dict[str, Any], emit: Emit, *, whole: bool = False) -> bool:
    """Emit what the server streams, or the `whole` of it; False when nobody waits any more."""
    if whole:
        return _complete_at_once(client, body, emit)
    with contextlib.closing(client.stream("/v1/completions", body)) as chunks:
        for chunk in chunks:
            for event in _events(chunk):
                if not emit(event):
                    return False
    return True


def _complete_at_once(client: Client, body: dict[str, Any], emit: Emit) -> bool:
    """Emit the whole answer when it is there.

    Each piece would wake the server, us and the reader while all cores are at work: without
    that, SmolLM2 writes 4 to 5 % more tokens a second in 8 slots on 2 cores.
    """

    def wanted() -> bool:
        client.wait_for_the_loop()  # one that hangs must not look alive
        return emit(TextDelta(""))

    asked = {**body, "stream": False, "return_progress": False}
    reply = client.post_while("/v1/completions", asked, wanted)
    if reply is None:
        return False
    times, total = reply["timings"], len(body["prompt"])
    seconds = times["prompt_ms"] / 1000, times["predicted_ms"] / 1000
    events = [replace(e, seconds=seconds) if isinstance(e, Finish) else e for e in _events(reply)]
    return all(map(emit, (PrefillProgress(total, total, times["cache_n"]), *events)))


def progress_to(emit: Emit) -> Emit:
    """Hand on the progress alone."""
    return lambda event: emit(event) if isinstance(event, PrefillProgress) else True


def reading(client: Client, body: dict[str, Any], emit: Emit) -> Callable[[Sequence[int]], bool]:
    """How the slot of the request `body` reads the first tokens of its prompt, and no more."""
    total = len(body["prompt"])

    def progress(event: Event) -> bool:
        if isinstance(event, PrefillProgress):
            return emit(PrefillProgress(event.done, total, event.cached))
        return True

    # At least one token is always drawn; nothing reads it.
    return lambda tokens: complete(
        client, {**body, "prompt": list(tokens), "max_tokens": 1}, progress
    )


def without(fresh: int, emit: Emit) -> Emit:
    """Count as cached but what was so before this request read `fresh` tokens of its own."""

    def counted(event: Event) -> bool:
        if isinstance(event, PrefillProgress):
            return emit(PrefillProgress(event.done, event.total, max(0, event.cached - fresh)))
        return emit(event)

    return counted


def _events(chunk: dict[str, Any]) -> Iterator[Event]:
    """Translate one chunk of a streamed reply."""
    if progress := chunk.get("prompt_progress"):
        yield PrefillProgress(progress["processed"], progress["total"], progress["cache"])
        return
    for choice in chunk.get("choices", ()):
        reason = choice.get("finish_reason")
        # Cutting at the limit can leave half a character, which arrives as U+FFFD.
        text = choice["text"].rstrip("\ufffd") if reason == "length" else choice["text"]
        if text or not reason:
            yield TextDelta(text)
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
