"""Several threads that answer rows and hand the records to the one thread that writes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mistral_cli.batch.prompts import WorkItem
from mistral_cli.errors import EngineDied, EngineFailed, MistralCliError
from mistral_cli.system.signals import on_stop, request_stop
from mistral_cli.system.threads import drain

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record

_TICK_SECONDS = 0.05  # between two calls of `tick` while no row finishes
_AHEAD = 4  # items that are taken and not finished, for each thread
_MAX_DEATHS = 3  # of the engine in a row, for each thread, before rows are retried one at a time
_MOST_SUSPECTS = 100


class Pool(Protocol):
    """Answers the items of a batch."""

    def records(
        self, items: Iterable[WorkItem], tick: Callable[[], None]
    ) -> Generator[Record, None, None]:
        """Yield the record of each item as it is finished, in any order, each item once.

        Items are taken as they are needed, a few ahead, from another thread than the caller's:
        the next one may come late. `tick` is called in the caller's thread, at least twenty times a
        second. Raises StopRequested on SIGINT and SIGTERM, but never while the caller writes a
        record, whatever `tick` raises, and EngineFailed if nothing can be answered. An error of
        `items` is raised after the records of the items before it.
        Closing the generator drops the items in progress.
        """


@dataclass(frozen=True)
class _Stop:
    number: int


@dataclass(frozen=True)
class _FirstItem:
    """There is an item in `_ready`, where there was none; no event tells of those behind it."""


@dataclass(frozen=True)
class _NoMoreItems:
    error: BaseException | None = None


_Outcome: TypeAlias = "tuple[WorkItem, Record | BaseException]"
_Event: TypeAlias = "_Outcome | _Stop | _FirstItem | _NoMoreItems"
_FIRST_ITEM = _FirstItem()


class WorkerPool:
    """Answers items in `threads` threads, and survives an engine that dies.

    `answer` makes the record of an item, and raises EngineDied if the engine's process ended
    meanwhile. Such items are retried one at a time, since any of them may be what kills the
    engine; `failure` makes the record of one that kills it again.

    One thread takes the items, others answer them, and all that happens is an event for the thread
    of the caller, which alone decides what is done next.
    """

    def __init__(
        self,
        answer: Callable[[WorkItem], Record],
        failure: Callable[[WorkItem, MistralCliError], Record],
        threads: int,
    ) -> None:
        self._answer, self._failure, self._threads = answer, failure, threads
        self._events = SimpleQueue[_Event]()
        self._todo = SimpleQueue[WorkItem | None]()
        self._ready = deque[WorkItem]()
        self._places = SimpleQueue[int]()  # for so many items there is room
        self._free = 0
        self._ended = self._closed = False
        self._error: BaseException | None = None  # of the items, after those that came
        self._busy = 0  # items that are being answered, or wait in `_todo`
        self._suspects = list[tuple[WorkItem, EngineDied]]()

    def records(
        self, items: Iterable[WorkItem], tick: Callable[[], None]
    ) -> Generator[Record, None, None]:
        """See Pool."""
        threading.Thread(target=self._take, args=(items,), daemon=True, name="items").start()
        for _ in range(self._threads):
            threading.Thread(target=self._work, daemon=True, name="rows").start()
        with on_stop(lambda number: self._events.put(_Stop(number))):
            try:
                while not (self._ended and not self._ready and not self._suspects):
                    any_answered = yield from self._together(tick)
                    yield from self._alone(tick, any_answered=any_answered)
                if self._error:
                    raise self._error
            finally:
                self._close()

    def _together(self, tick: Callable[[], None]) -> Generator[Record, None, bool]:
        """Answer items until there are none, or until some must be retried alone.

        Return whether any was answered.
        """
        deaths, any_answered = 0, False
        while True:
            if deaths >= _MAX_DEATHS * self._threads or len(self._suspects) >= _MOST_SUSPECTS:
                postponed = [item for item in drain(self._todo) if item]
                self._ready.extendleft(reversed(postponed))
                self._busy -= len(postponed)
                is_over = True
            else:
                self._dispatch(2 * self._threads)
                is_over = self._ended or bool(self._suspects)
            if is_over and not self._busy:
                return any_answered
            if (outcome := self._next_outcome(tick)) is None:
                continue
            self._free += 1
            if self._free == self._threads:  # the thread that takes items is seldom woken
                self._make_room()
            item, record = outcome
            if isinstance(record, EngineDied):
                self._suspects.append((item, record))
                deaths += 1
            else:
                deaths, any_answered = 0, True
                yield record

    def _alone(
        self, tick: Callable[[], None], *, any_answered: bool
    ) -> Generator[Record, None, None]:
        """Answer each suspect while no other item is being answered."""
        suspects, self._suspects = self._suspects, []
        deaths = 0
        for item, death in suspects:
            self._start(item)
            while (outcome := self._next_outcome(tick)) is None:
                pass
            _, record = outcome
            if isinstance(record, EngineDied):
                deaths += 1
                yield self._failure(item, record)
                if deaths >= _MAX_DEATHS and not any_answered:
                    raise EngineFailed(
                        f"the engine keeps crashing: {record.message}",
                        hint="Try another --engine, a smaller -c, or --parallel 1.",
                    )
            else:
                any_answered = True
                warning = f"{death.message}; the row was retried"
                yield {**record, "warnings": [*record["warnings"], warning]}

    def _make_room(self) -> None:
        self._places.put(self._free)
        self._free = 0

    def _dispatch(self, most: int) -> None:
        """Hand items to the threads, with some in reserve."""
        while self._ready and self._busy < most:
            self._start(self._ready.popleft())

    def _start(self, item: WorkItem) -> None:
        self._busy += 1
        self._todo.put(item)

    def _next_outcome(
        self, tick: Callable[[], None]
    ) -> tuple[WorkItem, Record | EngineDied] | None:
        """Act on the next event; return an item with its record, or with the engine's death."""
        tick()
        try:
            event = self._events.get(timeout=_TICK_SECONDS)
        except Empty:
            return None
        match event:
            case _FirstItem():
                pass
            case _Stop(number):
                request_stop(number)
            case _NoMoreItems(error):
                self._ended, self._error = True, error
            case item, outcome:
                self._busy -= 1
                if isinstance(outcome, BaseException) and not isinstance(outcome, EngineDied):
                    raise outcome
                return item, outcome
        return None

    def _take(self, items: Iterable[WorkItem]) -> None:
        """Take items while there is room for them, in a thread of its own."""
        error, room = None, self._threads * _AHEAD
        try:
            for item in items:
                if not room:
                    room = self._places.get()
                if self._closed:
                    return
                room -= 1
                self._ready.append(item)
                if len(self._ready) == 1:
                    self._events.put(_FIRST_ITEM)
        except BaseException as raised:
            error = raised
        self._events.put(_NoMoreItems(error))

    def _work(self) -> None:
        """Answer items until there is a None among them."""
        while (item := self._todo.get()) is not None:
            try:
                outcome: Record | BaseException = self._answer(item)
            except BaseException as error:
                outcome = error
            self._events.put((item, outcome))

    def _close(self) -> None:
        """End the threads, those that are answering an item as soon as they have."""
        self._closed = True
        self._places.put(1)
        drain(self._todo)
        for _ in range(self._threads):
            self._todo.put(None)
