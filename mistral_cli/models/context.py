"""How long a context to open: for the request, within what the model can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cli.models.chat.formats import chat_format

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.reporter import Reporter

_STEP = 256


def choose_context_length(model: GGUF, wanted: int | None, needed: int, reporter: Reporter) -> int:
    """Tokens to make room for: what the user `wanted`, else what is `needed`.

    Never more than the model was trained on; what is lowered or risky is said.
    """
    window = _attention_window(model)
    if wanted:
        allowed = min(wanted, model.context_length)
        if wanted > allowed:
            reporter.warn(
                f"the model was trained on {model.context_length} tokens; "
                f"-c {wanted} is lowered to that"
            )
        if allowed > window:
            reporter.warn(
                f"this model attends to the last {window} tokens only, which the engines do not "
                "imitate: answers get worse beyond that"
            )
        return allowed
    return min(-(-needed // _STEP) * _STEP, window)


def longest_context(model: GGUF, wanted: int | None) -> int:
    """Tokens of the longest context that may be opened, the user having `wanted` so many."""
    return min(wanted, model.context_length) if wanted else _attention_window(model)


def _attention_window(model: GGUF) -> int:
    """The longest context that the engines compute as the model was trained.

    Mistral 7B v0.1 slides a window of 4,096 tokens (arXiv:2310.06825), which its GGUF does
    not mention and neither engine implements; v0.2 and v0.3 moved the RoPE base instead.
    """
    first_mistral = (
        model.architecture == "llama"
        and model.context_length == 32768
        and model.hparam("rope.freq_base", 10000.0) == 10000.0
        and chat_format(model) == "mistral-v1"
    )
    return 4096 if first_mistral else model.context_length
