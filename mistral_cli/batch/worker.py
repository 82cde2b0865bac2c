"""Answers one work item, in the thread that calls, and returns its record."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mistral_cli.batch.formats import answer_record, failure_record
from mistral_cli.engines.protocol import TimedSession
from mistral_cli.engines.reasoning import SessionCalls, stream_answer
from mistral_cli.engines.stop_texts import until_stop
from mistral_cli.errors import (
    AnswerInterrupted,
    EngineDied,
    MistralCliError,
    ServersGone,
    TimedOut,
    UsageError,
    first_line,
    limit_reached,
)
from mistral_cli.generation.answer import Answer, collect, collect_scores
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.reasoning import refuse_unanswered
from mistral_cli.generation.session import Executor, ignore
from mistral_cli.generation.writers import NULL_WRITER
from mistral_cli.system.machine import resident_peak

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.batch.session import BatchSession
    from mistral_cli.engines.types import Request, ScoreRequest, Scores
    from mistral_cli.generation.answer import Result
    from mistral_cli.generation.planner import Job, RequestPlanner
    from mistral_cli.generation.session import ActiveSession, Ask, OnText, Score

_MEMORY_SECONDS = 1.0
_MOST_TRIES = 8  # of a row that servers interrupt


@dataclass
class Worker:
    """Answers work items; safe for as many threads as the session has slots.

    `timeout` is the limit for a row, in seconds. `count_answer` gets the tokens of each answer,
    and `count_chunks` is called for a row that is answered in chunks.
    """

    prompts: RowPrompts
    session: BatchSession
    timeout: float | None
    exact: bool
    count_answer: Callable[[int], None] = lambda _: None
    count_chunks: Callable[[], None] = lambda: None
    run_began_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    _peak: tuple[float, int | None] = (-math.inf, None)  # when it was read, and the bytes

    def record(self, item: WorkItem, tries: int = _MOST_TRIES) -> Record:
        """Return the record of an item, which may be that of a failure.

        An answer that a server interrupts is asked for again, `tries` times at most. Raises
        EngineDied, and ServersGone.
        """
        try:
            result = self._result(item)
        except (EngineDied, ServersGone):
            raise
        except AnswerInterrupted as error:
            # What was passed on was not shown to anyone: another server can answer the row.
            return self.record(item, tries - 1) if tries > 1 else self.failure(item, error)
        except MistralCliError as error:
            if not _timed(self.session.current).alive:  # and it could not be restarted
                raise EngineDied(error.message, hint=error.hint) from error
            return self.failure(item, error)
        except Exception as error:
            return self.failure(item, limit_reached(error) or _bug(error))
        return answer_record(
            item.row,
            item.key,
            result,
            exact=self.exact,
            clock=self._clock(),
            memory=self._memory(),
        )

    def _result(self, item: WorkItem) -> Result:
        """Answer an item, in a longer context if it needs one. Raises MistralCliError."""
        prompt, builder = self.prompts.of(item), self.prompts.builder_of(item.row)
        _check_sampler(item, self.session.current.planner)
        strategy = self.prompts.task.strategy
        while True:
            with self.session.using() as active:
                planner = active.planner
                if planner.builder is not builder:
                    planner = replace(planner, builder=builder)
                chunked = planner.chunk(planner.config.render(prompt))
                needed = min(strategy.context_needed(planner, chunked), planner.config.longest)
                fits = all(map(planner.fits, chunked.prompts))  # else it is refused
                if not fits or needed <= planner.load.context_length:
                    return self._answer(planner, planner.job_of(chunked), active)
            self.session.grow(needed)

    def _answer(self, planner: RequestPlanner, job: Job, active: ActiveSession) -> Result:
        if len(job.requests) > 1:
            self.count_chunks()
        partial = PartialAnswers.of(planner, job.requests)
        ask, score = self._within_limit(active)
        executor = Executor(planner, ask, planner.load.parallel, partial=partial, score=score)
        return self.prompts.task.strategy.respond(job, executor, NULL_WRITER)

    def failure(self, item: WorkItem, error: MistralCliError) -> Record:
        """Return the record of an item that failed."""
        return failure_record(item.row, item.key, error, clock=self._clock())

    def _memory(self) -> int | None:
        """Return the peak memory of the engine's process, as it was a moment ago at most.

        Reading it takes a third of a millisecond for 17 threads, which each row would pay.
        """
        now, (read_at, peak) = time.monotonic(), self._peak
        if now - read_at > _MEMORY_SECONDS:
            pid = _timed(self.session.current).pid
            peak = None if pid is None else resident_peak(pid)
            self._peak = now, peak
        return peak

    def _clock(self) -> dict[str, float]:
        """Return when the run began (Unix time), and the seconds since then."""
        return {
            "run_began_at": round(self.run_began_at, 3),
            "finished_at": round(time.monotonic() - self.started, 3),
        }

    def _within_limit(self, active: ActiveSession) -> tuple[Ask, Score]:
        """Return functions that run requests of one row, all of them within its time limit."""
        limit, session = TimeLimit(self.timeout), _timed(active)

        def ask(request: Request, stop: Sequence[str], on_text: OnText) -> Answer:
            # Streaming is needed to end an answer as soon as it has a stop text, runs away or ends
            # its block, and to tell the tokens of markers from the same text.
            marked = request.thinking is not None and bool(request.thinking.tokens)
            watched = on_text is not ignore or request.grammar is not None
            streams = bool(stop) or marked or watched
            request = replace(active.cache.prepared(request), stream=streams)
            calls = SessionCalls(
                lambda part: session.stream(part, timeout=limit.remaining()),
                session.tokenize,
            )
            try:
                answer = collect(
                    until_stop(stream_answer(calls, request), stop),
                    prompt_tokens=len(request.prompt_token_ids),
                    load_seconds=0.0,
                    on_progress=lambda _: limit.start(),
                    on_text=on_text,
                )
            except TimedOut:
                raise limit.error() from None
            self.count_answer(answer.tokens)
            return refuse_unanswered(answer)

        def score(request: ScoreRequest) -> tuple[Answer, Scores]:
            request = active.cache.prepared(request)
            try:
                answer, scores = collect_scores(
                    session.score(request, timeout=limit.remaining()),
                    prompt_tokens=len(request.prompt_token_ids),
                    load_seconds=0.0,
                    on_progress=lambda _: limit.start(),
                )
            except TimedOut:
                raise limit.error() from None
            self.count_answer(answer.tokens)
            return answer, scores

        return ask, score


class TimeLimit:
    """The time limit of a row. Waiting for a slot does not count, only the engine's work on it."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._deadline: float | None = None

    def start(self) -> None:
        """Start the clock; only the first call counts."""
        if self._seconds is not None and self._deadline is None:
            self._deadline = time.monotonic() + self._seconds

    def remaining(self) -> float | None:
        """Return the seconds left, or None without a limit. Raises TimedOut at the limit."""
        if self._deadline is None:
            return self._seconds
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise self.error()
        return seconds

    def error(self) -> TimedOut:
        """Return the error for a row that reached its limit."""
        return TimedOut(f"no complete answer within {self._seconds:g} s", hint="Raise --timeout.")


def _check_sampler(item: WorkItem, planner: RequestPlanner) -> None:
    """Raise UsageError for a setting of the row that its engine lacks.

    The first rows decide which engine is selected.
    """
    backend = planner.config.selection.backend
    if item.row.overrides.get("dry_multiplier") and not backend.dry:
        raise UsageError(
            f"{backend.name} does not have the DRY sampler", hint="Leave dry_multiplier at 0."
        )


def _timed(active: ActiveSession) -> TimedSession:
    """The session: it has time-outs, and knows whether it is alive."""
    assert isinstance(active.session, TimedSession)
    return active.session


def _bug(error: Exception) -> MistralCliError:
    """Return an unexpected exception as the error of one row, so that the others go on."""
    bug = MistralCliError(
        f"{type(error).__name__}: {first_line(error)}", hint="This is a bug. Please report it."
    )
    bug.details = "".join(traceback.format_exception(error))
    return bug
