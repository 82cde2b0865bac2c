"""Chooses a context length: enough for the request, within the limits of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cli.models.chat.formats import chat_format
from mistral_cli.models.remote import RemoteModel

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

_STEP = 256


def choose_context_length(
    model: GGUF, requested: int | None, needed: int, reporter: Reporter
) -> int:
    """Return the context length to open: the one that the user `requested`, else `needed` tokens.

    It is never more than the model was trained on. Warns about a length that is lowered or risky.
    """
    window = _attention_window(model)
    if requested:
        allowed = min(requested, model.context_length)
        if requested > allowed:
            remote = isinstance(model, RemoteModel)
            limit = "the server has a context of" if remote else "the model was trained on"
            reporter.warn(
                f"{limit} {model.context_length} tokens; -c {requested} is lowered to that"
            )
        if allowed > window:
            reporter.warn(
                f"this model attends only to the last {window} tokens, which the engines do not "
                "implement: answers get worse beyond that"
            )
        return allowed
    return min(-(-needed // _STEP) * _STEP, window)


def longest_context(model: GGUF, requested: int | None) -> int:
    """Return the longest context in tokens that may be opened, given the user's request."""
    return min(requested, model.context_length) if requested else _attention_window(model)


def _attention_window(model: GGUF) -> int:
    """Return the longest context that the engines compute as the model was trained.

    Mistral 7B v0.1 slides a window of 4,096 tokens (arXiv:2310.06825), which its GGUF does
    not mention and neither engine implements; v0.2 and v0.3 moved the RoPE base instead.
    """
    is_mistral_v01 = (
        model.architecture == "llama"
        and model.context_length == 32768
        and model.hparam("rope.freq_base", 10000.0) == 10000.0
        and chat_format(model) == "mistral-v1"
    )
    return 4096 if is_mistral_v01 else model.context_length
