"""A dry run of a batch: what is done, the tokens of the rest, and how long it may take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.report.table import count, quantity, timings_of
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.loader import open_session
from mistral_cli.errors import MistralCliError
from mistral_cli.generation.answer import collect
from mistral_cli.generation.checking.rules import PlannedCheck, planned_fields
from mistral_cli.generation.planner import PreparedRequest, RequestPlanner

if TYPE_CHECKING:
    from mistral_cli.batch.capacity import BatchPlan
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.batch.resume import ResumePlan
    from mistral_cli.engines.types import Request
    from mistral_cli.system.reporter import Reporter

_SAMPLE_TOKENS = 16


@dataclass(frozen=True)
class Speed:
    """Tokens per second of prefill and of generation, and the usual answer length in tokens."""

    prefill: float
    generation: float
    answer_tokens: float
    from_earlier_rows: bool


@dataclass(frozen=True)
class BatchEstimate:
    """What a run would do: numbers of rows, requests and tokens, and its time.

    The fields are those of the JSON object of a dry run. `basis` says how the seconds were
    estimated, if they were.
    """

    rows: int
    done: int
    failed_before: int
    orphaned: int
    to_do: int
    would_fail: int
    requests: int
    prompt_tokens: int
    context_length: int
    parallel: int
    checks: Sequence[PlannedCheck]
    estimated_seconds: float | None
    basis: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the JSON object."""
        seconds = self.estimated_seconds
        return {
            "rows": self.rows,
            "done": self.done,
            "failed_before": self.failed_before,
            "orphaned": self.orphaned,
            "to_do": self.to_do,
            "would_fail": self.would_fail,
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "context_length": self.context_length,
            "parallel": self.parallel,
            "checks": [planned_fields(check) for check in self.checks],
            "estimated_seconds": None if seconds is None else round(seconds),
        }

    def report(self, reporter: Reporter) -> None:
        """Print the checks and the time as notes."""
        if self.checks:
            reporter.note(f"checks: {', '.join(map(str, self.checks))}")
        if self.basis:
            reporter.note(f"about {_time(self.estimated_seconds or 0)} {self.basis}")


def estimate_batch(
    prompts: RowPrompts,
    plan: BatchPlan,
    resume: ResumePlan,
    todo: Sequence[WorkItem],
    existing: Iterable[Record],
    orphans: int,
    reporter: Reporter,
) -> BatchEstimate:
    """Count rows and tokens; the speed is that of `existing` results, or of a short sample."""
    planner, requests, would_fail = plan.planner, list[PreparedRequest](), 0
    checks: dict[PlannedCheck, None] = {}  # those of all rows, each once
    for item in todo:
        try:
            row_planner = replace(planner, builder=prompts.builder_of(item.row))
            job = row_planner.job(row_planner.config.render(item.built_prompt()))
            rules_of = prompts.task.strategy.rules_of(job, row_planner)
            checks |= dict.fromkeys(rules_of(job.requests[0]).planned())
            requests += job.requests
        except MistralCliError as error:
            would_fail += 1
            reporter.info(f"{item.row.id} would fail: {error.message}")
    prompt_tokens = sum(request.prompt_tokens for request in requests)
    speed = _speed_of(existing) or _sampled_speed(requests, planner, reporter)
    seconds, basis = (None if requests else 0.0), ""
    if speed:
        generates = prompts.task.strategy.generates
        answer_tokens = len(requests) * speed.answer_tokens if generates else 0
        seconds = prompt_tokens / speed.prefill + answer_tokens / speed.generation
    if speed and requests:
        basis = "at most, measured on the first row"
        if speed.from_earlier_rows:
            basis = "at the speed of earlier rows"
        merges = plan.in_chunks and prompts.task.strategy.asks_about_answers
        extra = "; merging the summaries takes extra time" if merges else ""
        basis = f"{basis}, one row at a time{extra}"
    return BatchEstimate(
        rows=len(resume.todo) + len(resume.done) + len(resume.failed),
        done=len(resume.done),
        failed_before=len(resume.failed),
        orphaned=orphans,
        to_do=len(todo),
        would_fail=would_fail,
        requests=len(requests),
        prompt_tokens=prompt_tokens,
        context_length=planner.load.context_length,
        parallel=plan.parallel,
        checks=tuple(checks),
        estimated_seconds=seconds,
        basis=basis,
    )


def _speed_of(records: Iterable[Record]) -> Speed | None:
    """Return the speed of rows that were answered, or None if there are none."""
    prompt_tokens = answer_tokens = prefill_seconds = generation_seconds = answers = 0.0
    for record in records:
        timings = timings_of(record)
        seconds = quantity(timings.get("generation_seconds"))
        if record.get("error") is None and seconds:
            read, cached = count(record.get("prompt_tokens")), count(record.get("cached_tokens"))
            prompt_tokens += max((read or 0) - (cached or 0), 0)
            answer_tokens += count(record.get("completion_tokens")) or 0
            prefill_seconds += quantity(timings.get("prompt_seconds")) or 0.0
            generation_seconds += seconds
            answers += 1
    if not (prompt_tokens and prefill_seconds and generation_seconds and answer_tokens):
        return None
    return Speed(
        prompt_tokens / prefill_seconds,
        answer_tokens / generation_seconds,
        answer_tokens / answers,
        from_earlier_rows=True,
    )


def _sampled_speed(
    requests: Sequence[PreparedRequest], planner: RequestPlanner, reporter: Reporter
) -> Speed | None:
    """Measure a few tokens of the first row, as there are no earlier rows."""
    if not requests:
        return None
    config, first = planner.config, requests[0]
    max_tokens = min(first.request.max_tokens, _SAMPLE_TOKENS)
    request: Request = replace(first.request, grammar=None, max_tokens=max_tokens)
    reporter.status("measuring the speed …")
    with (
        contextlib.suppress(ZeroDivisionError),
        open_session(
            config.selection, config.model, planner.load, reporter.warn, EngineProcess()
        ) as session,
    ):
        answer = collect(
            session.stream(request),
            prompt_tokens=first.prompt_tokens,
            load_seconds=0.0,
            on_progress=lambda _: None,
            on_text=lambda _: None,
        )
        reporter.clear_status()
        return Speed(
            first.prompt_tokens / answer.timings.prompt,
            answer.completion_tokens / answer.timings.generation,
            first.request.max_tokens,
            from_earlier_rows=False,
        )
    return None


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
