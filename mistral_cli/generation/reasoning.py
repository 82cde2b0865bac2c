"""Whether the model of a run thinks before it answers, and how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.engines.types import Thinking
from mistral_cli.errors import OutputCut, UsageError
from mistral_cli.generation.options import ReasoningMode, TaskOptions
from mistral_cli.models.remote import RemoteModel

if TYPE_CHECKING:
    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.templates import Template
    from mistral_cli.models.chat.reasoning import Reasoning, ReasoningFormat
    from mistral_cli.models.gguf import GGUF
    from mistral_cli.system.config import Config
    from mistral_cli.system.reporter import Reporter

# Tokens of context that are kept free for a thought without a budget. Small models of 2026 think
# for some hundred tokens about a short question, and some thousand about a problem.
_USUAL_THOUGHT = 2048


@dataclass(frozen=True)
class ReasoningConfig:
    """How the model of a run reasons: `prompts` end accordingly.

    A thought is closed after `budget` tokens. `tokens` are the ids and texts of the markers, or
    parts of them, that are tokens of the model's vocabulary.
    """

    prompts: Reasoning
    tokens: tuple[tuple[int, str], ...] = ()
    budget: int | None = None

    @property
    def room(self) -> int:
        """The tokens of context to keep free for a thought."""
        if self.prompts.end == "closed":
            return 0
        return _USUAL_THOUGHT if self.budget is None else self.budget

    def thinking(self, left: int, answer: int, *, constrained: bool) -> Thinking:
        """What the model may think in a context with `left` tokens for thought and `answer`."""
        end = self.prompts.end_for(constrained=constrained)
        limit = min(left - answer, left if self.budget is None else self.budget)
        return Thinking(self.prompts.markers, end, self.tokens, limit, self.budget is not None)


def resolve_reasoning(
    model: GGUF,
    template: Template,
    options: TaskOptions,
    config: Config,
    reporter: Reporter,
    *,
    by_default: bool,
    constrained: bool,
) -> ReasoningConfig | None:
    """Decide how `model` reasons: the option, else the template's header, else the configuration.

    The mode "auto" means `by_default`. Returns None for a model that does not reason. Raises
    UsageError for options that it does not have.
    """
    mode = _mode(options, template, config)
    if isinstance(model, RemoteModel) and model.packed:
        return None  # `server_thinks` has decided
    found = None
    if not options.raw:
        from mistral_cli.models.chat.reasoning import find_reasoning

        found = find_reasoning(model)
    if found is None:
        _refuse(options, model)
        return None
    thinks = by_default if mode is ReasoningMode.AUTO else mode is ReasoningMode.ON
    if options.reasoning_budget == 0:
        thinks = False
    prompts = found.on if thinks else found.off
    if thinks and (constrained or mode is ReasoningMode.ON):
        prompts = prompts.opened
    if thinks and options.reasoning_effort:
        prompts = prompts.with_variables(_effort(options.reasoning_effort, found, model))
    if mode is ReasoningMode.OFF and found.always_reasons:
        reporter.warn(
            f"{model.path.name} has no switch for its reasoning: it may still think, but the "
            "thought is not part of the answer"
        )
    reporter.info(f"reasoning {'on' if thinks else 'off'} ({mode.value})")
    return ReasoningConfig(prompts, prompts.marker_tokens(model), options.reasoning_budget or None)


def server_thinks(
    template: Template, options: TaskOptions, config: Config, *, by_default: bool
) -> bool:
    """Whether a model that is prompted with messages may think, as far as its server can tell it.

    Raises UsageError for options that no server has.
    """
    given = {
        "--reasoning-effort": options.reasoning_effort is not None,
        "--reasoning-budget": bool(options.reasoning_budget),
    }
    if wrong := next((name for name, is_set in given.items() if is_set), None):
        raise UsageError(
            f"{wrong} needs a server that takes token ids", hint="Drop it, or use another server."
        )
    mode = _mode(options, template, config)
    return by_default if mode is ReasoningMode.AUTO else mode is ReasoningMode.ON


def refuse_unanswered(answer: Answer) -> Answer:
    """Return `answer`, or raise OutputCut if the model thought until its limit instead."""
    if answer.finish_reason == "length" and answer.reasoning_tokens and not answer.text.strip():
        raise OutputCut(
            f"the model thought for {answer.reasoning_tokens} tokens and wrote no answer",
            hint="End the thought with --reasoning-budget, avoid it with --reasoning off, or give "
            "it more room with -c/--context-length.",
        )
    return answer


def _mode(options: TaskOptions, template: Template, config: Config) -> ReasoningMode:
    if options.reasoning is ReasoningMode.OFF and options.reasoning_effort:
        raise UsageError(
            "--reasoning-effort has no effect with --reasoning off", hint="Drop one of them."
        )
    if options.reasoning:
        return options.reasoning
    if options.reasoning_effort or options.reasoning_budget:
        return ReasoningMode.ON
    try:
        return ReasoningMode(template.reasoning or config.reasoning)
    except ValueError:
        raise UsageError(
            f"{config.reasoning!r} is not a reasoning mode", hint="Write auto, on or off."
        ) from None


def _refuse(options: TaskOptions, model: GGUF) -> None:
    """Raise UsageError for options that only a model that reasons can have."""
    given = {
        "--reasoning on": options.reasoning is ReasoningMode.ON,
        "--reasoning-effort": options.reasoning_effort is not None,
        "--reasoning-budget": bool(options.reasoning_budget),
    }
    for name, is_set in given.items():
        if is_set:
            asked = "a text sent unchanged" if options.raw else model.path.name
            other = "drop --raw" if options.raw else "use a model that reasons"
            raise UsageError(
                f"{asked} has no reasoning to switch with {name}", hint=f"Drop {name}, or {other}."
            )


def _effort(effort: str, found: ReasoningFormat, model: GGUF) -> dict[str, object]:
    if effort not in found.efforts:
        known = ", ".join(found.efforts)
        its_own = f"It has {known}" if known else "Its chat template has no setting for that"
        raise UsageError(
            f"{model.path.name} does not have the reasoning effort {str(effort)!r}",
            hint=f"{its_own}; --reasoning-budget limits the thought of any model.",
        )
    return dict(found.efforts[effort])
