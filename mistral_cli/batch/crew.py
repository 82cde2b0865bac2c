"""Rows answered by several threads, their records handed to one: the one that writes."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mistral_cli.batch.asks import Item
from mistral_cli.batch.lines import record_of_failure
from mistral_cli.errors import EngineDied, EngineFailed, MistralCliError

_TICK = 0.5  # seconds between two looks at the clock while no row finishes
_DEATHS = 3  # of the engine, in a row, without a row that was answered


@dataclass(frozen=True)
class Stopped:
    """A signal asked the batch to end."""

    signal: int


Record = dict[str, Any]


class Crew:
    """Answers items in `threads` threads.

    `answer` makes an item's record, and raises EngineDied where the engine's process ended
    under it; such items are asked again at the end, each alone, for one of them may be what
    kills the engine.
    """

    def __init__(self, answer: Callable[[Item], Record], threads: int, started: float) -> None:
        self._answer, self._threads, self._started = answer, threads, started
        self._events: queue.SimpleQueue[tuple[Item, Record | BaseException] | Stopped] = (
            queue.SimpleQueue()
        )
        self._deaths = 0

    def records(self, items: Sequence[Item], tick: Callable[[], None]) -> Iterator[Record]:
        """The record of each item as it is finished.

        Raises StopAsked on SIGINT and SIGTERM, and EngineFailed where the engine dies on.
        """
        with self._signals():
            suspects = list[Item]()
            yield from self._several(items, self._threads, tick, suspects)
            yield from self._several(suspects, 1, tick, None)

    def _several(
        self,
        items: Sequence[Item],
        threads: int,
        tick: Callable[[], None],
        suspects: list[Item] | None,
    ) -> Iterator[Record]:
        todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
        for item in items:
            todo.put(item)
        for _ in range(min(threads, len(items))):
            threading.Thread(target=self._work, args=(todo,), daemon=True).start()
        for _ in items:
            item, outcome = self._next(tick)
            if isinstance(outcome, EngineDied):
                self._count_death(outcome)
                if suspects is not None:
                    suspects.append(item)
                    continue
                outcome = record_of_failure(
                    item.row, item.key, outcome, finished=time.monotonic() - self._started
                )
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                self._deaths = 0
            yield outcome

    def _work(self, todo: queue.SimpleQueue[Item]) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item = todo.get_nowait()
                try:
                    self._events.put((item, self._answer(item)))
                except BaseException as error:
                    self._events.put((item, error))

    def _next(self, tick: Callable[[], None]) -> tuple[Item, Record | BaseException]:
        while True:
            tick()
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=_TICK)
                if isinstance(event, Stopped):
                    raise StopAsked(event.signal)
                return event

    def _count_death(self, error: EngineDied) -> None:
        self._deaths += 1
        if self._deaths > _DEATHS * self._threads:
            raise EngineFailed(
                f"the engine ends again and again: {error.message}",
                hint="Try another --engine, a smaller -c, or --parallel 1.",
            )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Hear of SIGINT and SIGTERM between two rows, never in the midst of a write."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # nohup
                signal.signal(number, lambda number, _: self._events.put(Stopped(number)))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class StopAsked(MistralCliError):
    """SIGINT or SIGTERM came."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped", hint="")
        self.number = number
