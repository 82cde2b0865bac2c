"""Several threads that answer rows and hand the records to the one thread that writes them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from mistral_cli.batch.prompts import WorkItem
from mistral_cli.errors import EngineDied, EngineFailed, MistralCliError
from mistral_cli.system.signals import on_stop, request_stop
from mistral_cli.system.threads import drain, start_workers

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record

_TICK_SECONDS = 0.5  # between two calls of `tick` while no row finishes
_MAX_DEATHS = 3  # of the engine in a row, for each thread, before rows are retried one at a time

_Event: TypeAlias = "tuple[WorkItem, Record | BaseException] | int | None"
"""A finished item with its outcome, the number of a signal, or None: a thread has ended."""


class WorkerPool:
    """Answers items in `threads` threads, and survives an engine that dies.

    `answer` makes the record of an item, and raises EngineDied if the engine's process ended
    meanwhile. Such items are retried one at a time, since any of them may be what kills the
    engine; `failure` makes the record of one that kills it again.
    """

    def __init__(
        self,
        answer: Callable[[WorkItem], Record],
        failure: Callable[[WorkItem, MistralCliError], Record],
        threads: int,
    ) -> None:
        self._answer, self._failure, self._threads = answer, failure, threads
        self._events = SimpleQueue[_Event]()

    def records(self, items: Sequence[WorkItem], tick: Callable[[], None]) -> Generator[Record]:
        """Yield the record of each item as it is finished; call `tick` now and then.

        Raises StopRequested on SIGINT and SIGTERM, but never while the caller writes a record, and
        EngineFailed if the engine keeps dying.
        """
        todo = _queue_of(items)
        with on_stop(self._events.put):
            try:
                while not todo.empty():
                    yield from self._round(todo, tick)
            finally:
                drain(todo)  # ends the threads

    def _round(self, todo: SimpleQueue[WorkItem], tick: Callable[[], None]) -> Generator[Record]:
        """Answer all items, or stop early if the engine dies too often, and retry the suspects."""
        suspects, death_of = list[WorkItem](), dict[str, str]()
        postponed, deaths, any_answered = list[WorkItem](), 0, False
        for item, outcome in self._outcomes(todo, self._threads, tick):
            if isinstance(outcome, EngineDied):
                suspects.append(item)
                death_of[item.row.id] = outcome.message
                deaths += 1
                if deaths >= _MAX_DEATHS * self._threads:
                    postponed += drain(todo)
            else:
                deaths, any_answered = 0, True
                yield outcome
        deaths = 0
        for item, outcome in self._outcomes(_queue_of(suspects), 1, tick):
            if isinstance(outcome, EngineDied):
                deaths += 1
                yield self._failure(item, outcome)
                if deaths >= _MAX_DEATHS and not any_answered:
                    raise EngineFailed(
                        f"the engine keeps crashing: {outcome.message}",
                        hint="Try another --engine, a smaller -c, or --parallel 1.",
                    )
            else:
                any_answered = True
                warning = f"{death_of[item.row.id]}; the row was retried"
                yield {**outcome, "warnings": [*outcome["warnings"], warning]}
        for item in postponed:
            todo.put(item)

    def _outcomes(
        self, todo: SimpleQueue[WorkItem], threads: int, tick: Callable[[], None]
    ) -> Iterator[tuple[WorkItem, Record | EngineDied]]:
        """Yield each item with its record, or with the death of the engine."""
        working = min(threads, todo.qsize())
        start_workers(self._answer, todo, self._events.put, working)
        while working:
            tick()
            try:
                event = self._events.get(timeout=_TICK_SECONDS)
            except Empty:
                continue
            if event is None:
                working -= 1
                continue
            if isinstance(event, int):
                request_stop(event)
                continue
            item, outcome = event
            if isinstance(outcome, BaseException) and not isinstance(outcome, EngineDied):
                raise outcome
            yield item, outcome


def _queue_of(items: Sequence[WorkItem]) -> SimpleQueue[WorkItem]:
    queue = SimpleQueue[WorkItem]()
    for item in items:
        queue.put(item)
    return queue
