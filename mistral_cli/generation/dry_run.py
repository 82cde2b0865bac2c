"""What `--dry-run` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mistral_cli.generation.result import head
from mistral_cli.system.stdout import write, write_envelope

if TYPE_CHECKING:
    from mistral_cli.generation.planner import Plan
    from mistral_cli.system.terminal import Terminal


def dry_run(plan: Plan, terminal: Terminal, *, as_json: bool) -> None:
    """Print what would be run."""
    sampling = plan.request.sampling
    shape = plan.draft.expected.spec if plan.draft.expected else None
    details: Mapping[str, Any] = {
        **head(plan),
        "prompt": plan.prompt,
        "prompt_token_ids": plan.request.prompt_token_ids,
        "prompt_tokens": plan.prompt_tokens,
        "context_length": plan.load.context_length,
        "tokens_left": plan.load.context_length - plan.prompt_tokens,
        "gpu_layers": plan.load.gpu_layers,
        "gpu_reason": plan.selection.gpu_reason,
        "threads": plan.load.threads,
        "max_tokens": plan.request.max_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": sampling.seed,
        "stop": plan.stop,
        "schema": shape and shape.schema,
        "many": bool(shape and shape.many),
        "grounded": bool(shape and shape.grounded),
        "warnings": terminal.warnings,
    }
    if as_json:
        write_envelope(terminal, details)
        return
    write(terminal, plan.prompt + "\n")
    terminal.note(
        f"dry run: {plan.prompt_tokens} prompt tokens of {plan.load.context_length}, at most "
        f"{plan.request.max_tokens} new ones, {plan.selection.backend.name}, "
        f"{plan.load.gpu_layers} layers on the GPU ({plan.selection.gpu_reason})"
    )
