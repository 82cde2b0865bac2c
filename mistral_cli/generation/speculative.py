"""Speculative decoding: `--lookup` and `--draft-model`, checked against model and engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_cli.engines.protocol import SpeculativeConfig
from mistral_cli.engines.registry import DEFAULT
from mistral_cli.errors import ModelUnusable, UsageError
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.references import resolve_reference

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Backend
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.config import Config
    from mistral_cli.system.reporter import Reporter


def speculative_config(
    draft_model: str | None, model: GGUF, backend: Backend, config: Config, reporter: Reporter
) -> SpeculativeConfig:
    """The source of drafted tokens for `model`: the draft model, or else the prompt's own text.

    Raises UsageError if the engine has no speculative decoding, ModelUnusable for a draft model
    with another vocabulary, and the errors of `resolve_reference`.
    """
    if not backend.speculative:
        flag = "--draft-model" if draft_model else "--lookup"
        raise UsageError(
            f"{backend.name} has no speculative decoding",
            hint=f"Use --engine {DEFAULT}, or drop {flag}.",
        )
    if not draft_model:
        return SpeculativeConfig(None)
    return SpeculativeConfig(_draft_model(draft_model, model, config, reporter).path)


def _draft_model(reference: str, model: GGUF, config: Config, reporter: Reporter) -> GGUF:
    draft = read_gguf(resolve_reference(reference, config, reporter))
    reporter.info(f"the draft model {reference} is {draft.path}")
    # llama.cpp would silently translate between the vocabularies, and draft badly.
    if draft.tokens != model.tokens or draft.eos_id != model.eos_id:
        raise ModelUnusable(
            f"the draft model {draft.path.name} and {model.path.name} have different vocabularies",
            hint="Use a smaller model of the same family.",
        )
    return draft
