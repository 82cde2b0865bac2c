"""A dry run of a batch: what is done, what would be read, and how long it may take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.loader import open_session
from mistral_cli.errors import MistralCliError
from mistral_cli.generation.answer import collect
from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
from mistral_cli.system.stdout import write_envelope

if TYPE_CHECKING:
    from mistral_cli.batch.capacity import BatchPlan
    from mistral_cli.batch.prompts import Item, RowPrompts
    from mistral_cli.batch.resume import ResumePlan
    from mistral_cli.engines.types import Request
    from mistral_cli.system.terminal import Terminal

_SAMPLE_TOKENS = 16


@dataclass(frozen=True)
class Speed:
    """Tokens a second of prompt and of answer, and the usual length of an answer in tokens."""

    prompt: float
    generation: float
    answer: float
    from_earlier: bool


def estimate(
    prompts: RowPrompts,
    plan: BatchPlan,
    resume: ResumePlan,
    todo: Sequence[Item],
    earlier: Iterable[Mapping[str, Any]],
    terminal: Terminal,
) -> None:
    """Print the counts, the tokens and the time."""
    planner, requests, impossible = plan.planner, list[PreparedRequest](), 0
    for item in todo:
        try:
            own = replace(planner, builder=prompts.builder_of(item.row))
            requests += own.job(own.encode(item.built())).requests
        except MistralCliError as error:
            impossible += 1
            terminal.info(f"{item.row.id} would fail: {error.message}")
    prompt_tokens = sum(each.prompt_tokens for each in requests)
    speed = _earlier_speed(earlier) or _sampled_speed(requests, planner, terminal)
    seconds = None if requests else 0.0
    if speed:
        seconds = prompt_tokens / speed.prompt + len(requests) * speed.answer / speed.generation
    write_envelope(
        terminal,
        {
            "command": f"batch {prompts.builder.task.name}",
            "rows": len(resume.todo) + len(resume.done) + len(resume.failed),
            "done": len(resume.done),
            "failed_before": len(resume.failed),
            "to_do": len(todo),
            "would_fail": impossible,
            "requests": len(requests),
            "prompt_tokens": prompt_tokens,
            "context_length": planner.load.context_length,
            "parallel": plan.parallel,
            "estimated_seconds": None if seconds is None else round(seconds),
        },
    )
    if speed and requests:
        how = "at the speed of earlier rows" if speed.from_earlier else "at most, on a first sample"
        levels = plan.in_parts and prompts.builder.task.strategy.asks_about_answers
        more = "; the summaries of parts' summaries come on top" if levels else ""
        terminal.note(f"about {_time(seconds or 0)} {how}, one row at a time{more}")


def _earlier_speed(records: Iterable[Mapping[str, Any]]) -> Speed | None:
    read = wrote = reading = writing = count = 0.0
    for record in records:
        times = record.get("timings") or {}
        if record.get("error") is None and times.get("generation_seconds"):
            read += record["prompt_tokens"] - record.get("cached_tokens", 0)
            wrote += record["completion_tokens"]
            reading += times["prompt_seconds"]
            writing += times["generation_seconds"]
            count += 1
    if not (reading and writing and wrote):
        return None
    return Speed(read / reading, wrote / writing, wrote / count, True)


def _sampled_speed(
    requests: Sequence[PreparedRequest], planner: RequestPlanner, terminal: Terminal
) -> Speed | None:
    """A few tokens of the first row, for want of anything better."""
    if not requests:
        return None
    config, first = planner.config, requests[0]
    request: Request = replace(first.request, grammar=None)
    request = replace(request, max_tokens=min(request.max_tokens, _SAMPLE_TOKENS))
    terminal.status("measuring the speed …")
    with (
        contextlib.suppress(ZeroDivisionError),
        open_session(
            config.selection, config.model, planner.load, terminal.warn, EngineProcess()
        ) as session,
    ):
        answer = collect(
            session.stream(request),
            prompt_tokens=first.prompt_tokens,
            load_seconds=0.0,
            on_progress=lambda _: None,
            on_text=lambda _: None,
        )
        terminal.clear_status()
        times = answer.timings
        generation = answer.completion_tokens / times.generation
        return Speed(
            first.prompt_tokens / times.prompt, generation, first.request.max_tokens, False
        )
    return None


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
