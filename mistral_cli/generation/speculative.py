"""`--lookup` and `--draft-model`: who guesses tokens ahead, checked against model and engine."""

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


def guessing(
    lookup: bool,
    draft: str | None,
    model: GGUF,
    engine: Backend,
    config: Config,
    reporter: Reporter,
) -> SpeculativeConfig | None:
    """Who guesses for `model`: its text with `lookup`, the model that `draft` refers to, or nobody.

    Raises UsageError where that cannot be, ModelUnusable for a draft of another vocabulary, and
    what finding a model raises.
    """
    if not (lookup or draft):
        return None
    if not engine.speculative:
        flag = "--draft-model" if draft else "--lookup"
        raise UsageError(
            f"{engine.name} cannot guess ahead", hint=f"Use --engine {DEFAULT}, or drop {flag}."
        )
    return SpeculativeConfig(_fitting(draft, model, config, reporter).path if draft else None)


def _fitting(reference: str, model: GGUF, config: Config, reporter: Reporter) -> GGUF:
    draft = read_gguf(resolve_reference(reference, config, reporter))
    reporter.info(f"the draft model {reference} is {draft.path}")
    # llama.cpp would translate between vocabularies, which guesses badly, and says nothing.
    if draft.tokens != model.tokens or draft.eos_id != model.eos_id:
        raise ModelUnusable(
            f"the draft model {draft.path.name} has another vocabulary than {model.path.name}",
            hint="Use a smaller model of the same family.",
        )
    return draft
