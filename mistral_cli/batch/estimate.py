"""A dry run of a batch: what is done, the tokens of the rest, and how long it may take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.capacity import plan_batch, shared_prefix
from mistral_cli.batch.report.table import count, quantity, timings_of
from mistral_cli.engines.isolated.handle import EngineProcess
from mistral_cli.engines.loader import open_session, open_tokenizer
from mistral_cli.errors import MistralCliError
from mistral_cli.generation.answer import collect
from mistral_cli.generation.checking.rules import PlannedCheck, planned_fields
from mistral_cli.generation.planner import (
    SHORT_PROMPT,
    PreparedRequest,
    RequestPlanner,
    short_budget,
)

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.options import BatchOptions
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.batch.stream import WorkStream
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.system.reporter import Reporter

_SAMPLE_TOKENS = 16

# Counting the tokens of a row takes a request of the tokenizer: 0.3 ms in llama.cpp.
_COUNTED_ROWS = 1000


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
    config: RunConfig,
    stream: WorkStream,
    options: BatchOptions,
    existing: Iterable[Record],
    reporter: Reporter,
) -> BatchEstimate:
    """Count rows and tokens; the speed is that of `existing` results, or of a short sample.

    The tokens of the first rows are counted, and those of long ones. Of other rows only the bytes
    are: their tokens are estimated by those of the rows that were counted.
    """
    first = stream.head()
    plan = plan_batch(prompts, config, first, options, reporter, more=not stream.ended)
    with open_tokenizer(config.selection.backend, config.model) as tokenizer:
        planner = replace(plan.planner, tokenize=tokenizer.tokenize)
        planner = replace(planner, shared_prefix=shared_prefix(prompts, planner, first))
        counts = _Counts(prompts, planner, reporter)
        for item in stream.items():
            counts.add(item)
    speed = _speed_of(existing) or _sampled_speed(counts.first, planner, reporter)
    seconds, basis = (None if counts.requests else 0.0), ""
    if speed:
        generates = prompts.task.strategy.generates
        answer_tokens = counts.requests * speed.answer_tokens if generates else 0
        seconds = counts.prompt_tokens / speed.prefill + answer_tokens / speed.generation
    if speed and counts.requests:
        basis = "at most, measured on the first row"
        if speed.from_earlier_rows:
            basis = "at the speed of earlier rows"
        merges = counts.in_chunks and prompts.task.strategy.asks_about_answers
        extra = "; merging the summaries takes extra time" if merges else ""
        basis = f"{basis}, one row at a time{extra}"
    return BatchEstimate(
        rows=stream.rows,
        done=stream.done,
        failed_before=stream.failed,
        orphaned=stream.orphans,
        to_do=stream.to_do,
        would_fail=counts.would_fail,
        requests=counts.requests,
        prompt_tokens=counts.prompt_tokens,
        context_length=max(planner.load.context_length, counts.context_length),
        parallel=plan.parallel,
        checks=tuple(counts.checks),
        estimated_seconds=seconds,
        basis=basis,
    )


class _Counts:
    """Counts requests and tokens, a row at a time."""

    def __init__(self, prompts: RowPrompts, planner: RequestPlanner, reporter: Reporter) -> None:
        self.requests = self.would_fail = self.context_length = 0
        self.in_chunks = False
        self.first: PreparedRequest | None = None
        self.checks: dict[PlannedCheck, None] = {}  # those of all counted rows, each once
        self._prompts, self._planner, self._reporter = prompts, planner, reporter
        self._rows = self._tokens = self._counted_size = self._size = 0
        self._requests_of_short = 0  # the number of requests about a text that is not split
        self._around: int | None = None  # a bound of the tokens around a text that is inserted
        self._room = 0

    def add(self, item: WorkItem) -> None:
        """Count an item, or only its size if it certainly fits and enough have been counted."""
        self._rows += 1
        try:
            if self._rows > _COUNTED_ROWS and self._is_short(item):
                self.requests += self._requests_of_short
                self._size += item.size
            else:
                self._count(item)
        except MistralCliError as error:
            self.would_fail += 1
            self._reporter.info(f"{item.row.id} would fail: {error.message}")

    def _is_short(self, item: WorkItem) -> bool:
        """Whether a bound of its tokens shows that its prompt fits. Raises the row's error."""
        if not self._requests_of_short:
            return False
        if self._around is not None and item.size and not item.row.conversation:
            bound = self._around + len(item.row.text.encode("utf-8", "surrogatepass"))
            if bound <= min(SHORT_PROMPT, self._room):
                return True
        prompt, planner = self._prompts.of(item), self._planner
        builder, strategy = self._prompts.builder_of(item.row), self._prompts.task.strategy
        rendered = planner.config.render(prompt)
        return short_budget(builder, planner.config, strategy, rendered) is not None

    @property
    def prompt_tokens(self) -> int:
        """The tokens of all prompts, estimated where they were not counted."""
        if not self._size:
            return self._tokens
        return round(self._tokens * (1 + self._size / max(self._counted_size, 1)))

    def _count(self, item: WorkItem) -> None:
        prompts, planner = self._prompts, self._planner
        strategy = prompts.task.strategy
        planner = replace(planner, builder=prompts.builder_of(item.row))
        chunked = planner.chunk(planner.config.render(prompts.of(item)))
        if all(map(planner.fits, chunked.prompts)):
            needed = min(strategy.context_needed(planner, chunked), planner.config.longest)
            self.context_length = max(self.context_length, needed)
            planner = planner.with_load(context_length=max(needed, planner.load.context_length))
        job = planner.job_of(chunked)
        rules = strategy.rules_of(job, planner)(job.requests[0])
        self.checks |= dict.fromkeys(rules.planned())
        self.requests += len(job.requests)
        self.in_chunks = self.in_chunks or len(job.requests) > 1
        self.first = self.first or job.requests[0]
        self._tokens += sum(request.prompt_tokens for request in job.requests)
        self._counted_size += item.size
        if not job.split and not self._requests_of_short:
            self._requests_of_short = len(job.requests)
            if self._prompts.inserts_text and not self._prompts.fills_text:
                text = item.row.text.encode("utf-8", "surrogatepass")
                self._around = planner.config.render(job.prompt).most_tokens - len(text)
                self._room = planner.room(job.prompt)


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
    first: PreparedRequest | None, planner: RequestPlanner, reporter: Reporter
) -> Speed | None:
    """Measure a few tokens of the first row, as there are no earlier rows."""
    if first is None:
        return None
    config = planner.config
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
