"""An answered text, and what JSON tells of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mistral_cli.generation.answer import Answer
    from mistral_cli.generation.planner import Plan
    from mistral_cli.structured.spec import Extraction


@dataclass(frozen=True)
class Result:
    """One answered text; `extraction` is what was read where JSON was asked for.

    `chunks` are the parts in which it was read, and `left_out` says what of it was not.
    """

    plan: Plan
    answer: Answer
    extraction: Extraction | None = None
    warnings: tuple[str, ...] = ()
    chunks: int = 1
    left_out: str = ""


def head(plan: Plan) -> dict[str, Any]:
    """What every JSON object about a plan begins with."""
    return {
        "command": plan.task.name,
        "source": plan.draft.text.source,
        "model": plan.model_name,
        "adapters": adapters_of(plan),
        "engine": plan.selection.backend.name,
        "engine_reason": plan.selection.reason,
        "served": plan.selection.served,
    }


def what_was_said(result: Result, *, exact: bool) -> dict[str, Any]:
    """The part of every JSON object about an answer that tells it and what it took."""
    answer = result.answer
    text = answer.text if exact else answer.text.strip()
    said = _extracted(result.extraction, result.plan) if result.extraction else {"text": text}
    return {
        **said,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
        "completion_tokens": answer.completion_tokens,
        "chunks": result.chunks,
        "left_out": result.left_out or None,
        "timings": timings(answer),
    }


def _extracted(extraction: Extraction, plan: Plan) -> dict[str, Any]:
    expected = plan.draft.expected
    if not (expected and expected.spec.grounded):
        return {"data": extraction.data}
    return {"data": extraction.data, "spans": [asdict(span) for span in extraction.spans]}


def adapters_of(plan: Plan) -> list[dict[str, Any]]:
    """The adapters that are added to the model, for JSON."""
    return [{"path": str(each.path), "scale": each.scale} for each in plan.load.adapters]


def timings(answer: Answer) -> dict[str, float]:
    """Seconds and tokens a second, rounded for reading."""
    times = answer.timings
    speed = (answer.completion_tokens - 1) / times.generation if times.generation > 0 else 0.0
    return {
        "load_seconds": round(times.load, 3),
        "prompt_seconds": round(times.prompt, 3),
        "generation_seconds": round(times.generation, 3),
        "tokens_per_second": round(max(speed, 0.0), 2),
    }
