"""Rows answered by several threads, their records handed to one: the one that writes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from mistral_cli.batch.prompts import Item
from mistral_cli.errors import EngineDied, EngineFailed, MistralCliError
from mistral_cli.system.signals import StopAsked, on_stop

_TICK = 0.5  # seconds between two looks at the clock while no row finishes
_DEATHS = 3  # of the engine, one after the other, before rows are asked alone

Record = dict[str, Any]
_Items = queue.SimpleQueue[Item]


class WorkerPool:
    """Answers items in `threads` threads.

    `answer` makes an item's record, and raises EngineDied where the engine's process ended
    under it; such items are asked again, each alone, for one of them may be what kills the
    engine. `failure` makes the record of one that does.
    """

    def __init__(
        self,
        answer: Callable[[Item], Record],
        failure: Callable[[Item, MistralCliError], Record],
        threads: int,
    ) -> None:
        self._answer, self._failure, self._threads = answer, failure, threads
        # A finished item, the number of a signal, or None: a thread has ended.
        self._events: queue.SimpleQueue[tuple[Item, Record | BaseException] | int | None] = (
            queue.SimpleQueue()
        )

    def records(self, items: Sequence[Item], tick: Callable[[], None]) -> Generator[Record]:
        """The record of each item as it is finished; `tick` is called now and then.

        Raises StopAsked on SIGINT and SIGTERM, which are never heard in the midst of a write,
        and EngineFailed where the engine dies on.
        """
        todo: _Items = queue.SimpleQueue()
        _put(todo, items)
        with on_stop(self._events.put):
            try:
                while not todo.empty():
                    yield from self._round(todo, tick)
            finally:
                _taken(todo)  # nobody wants the rest

    def _round(self, todo: _Items, tick: Callable[[], None]) -> Generator[Record]:
        """Answer all, or as many as can be until the engine has died too often."""
        suspects: _Items = queue.SimpleQueue()
        met = dict[str, str]()
        rest, deaths, answered = list[Item](), 0, False
        for item, outcome in self._outcomes(todo, self._threads, tick):
            if isinstance(outcome, EngineDied):
                suspects.put(item)
                met[item.row.id] = outcome.message
                deaths += 1
                if deaths >= _DEATHS * self._threads:
                    rest += _taken(todo)
            else:
                deaths, answered = 0, True
                yield outcome
        deaths = 0
        for item, outcome in self._outcomes(suspects, 1, tick):
            if isinstance(outcome, EngineDied):
                deaths += 1
                yield self._failure(item, outcome)
                if deaths >= _DEATHS and not answered:
                    raise EngineFailed(
                        f"the engine ends again and again: {outcome.message}",
                        hint="Try another --engine, a smaller -c, or --parallel 1.",
                    )
            else:
                answered = True
                marked = f"{met[item.row.id]}; asked again"
                yield {**outcome, "warnings": [*outcome["warnings"], marked]}
        _put(todo, rest)

    def _outcomes(
        self, todo: _Items, threads: int, tick: Callable[[], None]
    ) -> Iterator[tuple[Item, Record | EngineDied]]:
        """Each item with its record, or the death of the engine that it met with."""
        working = min(threads, todo.qsize())
        for _ in range(working):
            threading.Thread(target=self._work, args=(todo,), daemon=True).start()
        while working:
            tick()
            try:
                event = self._events.get(timeout=_TICK)
            except queue.Empty:
                continue
            if event is None:
                working -= 1
            elif isinstance(event, int):
                raise StopAsked(event)
            elif isinstance(event[1], EngineDied | dict):
                yield event[0], event[1]
            else:
                raise event[1]

    def _work(self, todo: _Items) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item = todo.get_nowait()
                try:
                    self._events.put((item, self._answer(item)))
                except BaseException as error:
                    self._events.put((item, error))
        self._events.put(None)


def _put(queue: _Items, items: Sequence[Item]) -> None:
    for item in items:
        queue.put(item)


def _taken(todo: _Items) -> list[Item]:
    """What was still in the queue."""
    taken = list[Item]()
    with contextlib.suppress(queue.Empty):
        while True:
            taken.append(todo.get_nowait())
    return taken
