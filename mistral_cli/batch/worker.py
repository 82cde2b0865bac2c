"""One row → its record: asked, answered, or failed, in the thread that calls."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mistral_cli.batch.formats import answer_record, failure_record
from mistral_cli.engines.isolated.session import IsolatedSession
from mistral_cli.errors import EngineDied, MistralCliError, TimedOut, first_line
from mistral_cli.generation.answer import Answer, collect, until_stop
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.session import Executor
from mistral_cli.generation.writers import NULL_WRITER

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.prompts import Item, RowPrompts
    from mistral_cli.engines.types import Request
    from mistral_cli.generation.session import ActiveSession


@dataclass
class Worker:
    """Answers items; safe for use by as many threads as the engine has slots.

    `timeout` is in seconds, for a row. `answered` is told the tokens of every answer.
    """

    prompts: RowPrompts
    active: ActiveSession
    timeout: float | None
    exact: bool
    answered: Callable[[int], None] = lambda _: None
    began_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)

    def record(self, item: Item) -> Record:
        """The record of an item; its failure is one too. Raises EngineDied."""
        try:
            planner = replace(self.active.planner, builder=self.prompts.builder_of(item.row))
            job = planner.job(planner.encode(item.built()))
            partial = PartialAnswers.of(planner, job.requests)
            executor = Executor(planner, self._asking(), planner.load.parallel, partial=partial)
            result = planner.builder.task.strategy.respond(job, executor, NULL_WRITER)
            item.prompt = None
        except EngineDied:
            raise
        except MistralCliError as error:
            if not self._session.alive:  # nor could it be opened again
                raise EngineDied(error.message, hint=error.hint) from error
            return self.failure(item, error)
        except Exception as error:
            return self.failure(item, _bug(error))
        return answer_record(item.row, item.key, result, exact=self.exact, clock=self._clock())

    def failure(self, item: Item, error: MistralCliError) -> Record:
        """The record of an item without an answer."""
        return failure_record(item.row, item.key, error, clock=self._clock())

    @property
    def _session(self) -> IsolatedSession:
        """The session, isolated in a process: it has time-outs, and knows if that lives."""
        assert isinstance(self.active.session, IsolatedSession)
        return self.active.session

    def _clock(self) -> dict[str, float]:
        """When the run began, since the epoch, and how long ago that is, in seconds."""
        finished_at = time.monotonic() - self.started
        return {"run_began_at": round(self.began_at, 3), "finished_at": round(finished_at, 3)}

    def _asking(self) -> Callable[[Request, Sequence[str], Callable[[str], None]], Answer]:
        """How the requests for one row are put: all of them within its time."""
        clock = Clock(self.timeout)

        def ask(request: Request, stop: Sequence[str], on_text: Callable[[str], None]) -> Answer:
            # A text to stop at ends an answer as soon as it is seen.
            request = replace(self.active.cache.prepared(request), stream=bool(stop))
            events = self._session.stream(request, timeout=clock.left())
            try:
                answer = collect(
                    until_stop(events, stop),
                    prompt_tokens=len(request.prompt_token_ids),
                    load_seconds=0.0,
                    on_progress=lambda _: clock.start(),
                    on_text=on_text,
                )
            except TimedOut:
                raise clock.is_up() from None
            self.answered(answer.prompt_tokens + answer.completion_tokens)
            return answer

        return ask


class Clock:
    """The time that a row has: from when the engine begins with it, not while it waits."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._deadline: float | None = None

    def start(self) -> None:
        """The engine is at work; only the first call counts."""
        if self._seconds is not None and self._deadline is None:
            self._deadline = time.monotonic() + self._seconds

    def left(self) -> float | None:
        """Seconds, or None for no limit. Raises TimedOut where there are none."""
        if self._deadline is None:
            return self._seconds
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.is_up()
        return left

    def is_up(self) -> TimedOut:
        """The error for a row that has no time left."""
        return TimedOut(f"no complete answer within {self._seconds:g} s", hint="Raise --timeout.")


def _bug(error: Exception) -> MistralCliError:
    """What went wrong with one row, and must not keep the others from their answers."""
    message = f"{type(error).__name__}: {first_line(error)}"
    found = MistralCliError(message, hint="This is a bug. Please report it.")
    found.details = "".join(traceback.format_exception(error))
    return found
