"""Rows go out to actors on a Ray cluster in windows, and their records come back to be written."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from mistral_cli.batch.cluster.actor import ActorJob, ActorReady, Finished
from mistral_cli.batch.cluster.fleet import ActorFleet, RemoteActor, RowOnTheWay
from mistral_cli.engines.isolated.messages import RemoteError
from mistral_cli.errors import EngineDied, EngineFailed, MistralCliError
from mistral_cli.system.signals import on_stop, request_stop

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.progress import BatchProgress
    from mistral_cli.batch.prompts import WorkItem
    from mistral_cli.system.reporter import Reporter

_TICK_SECONDS = 0.05  # between two calls of `tick` while no row finishes
_AHEAD = 4  # rows that are read and not finished, for each slot of the cluster
_MAX_DEATHS = 3  # of an engine in a row, for each slot, before its actor is given up
_MAX_LOSSES = 3  # of a row with its actor, before it is tried alone; as many again: it failed


@dataclass(frozen=True)
class _Result:
    actor: RemoteActor
    future: Any


@dataclass(frozen=True)
class _Listing:
    nodes: list[Any] | MistralCliError


@dataclass(frozen=True)
class _Stop:
    number: int


@dataclass(frozen=True)
class _NoMoreItems:
    error: BaseException | None = None


_Event: TypeAlias = "RowOnTheWay | _Result | _Listing | _Stop | _NoMoreItems"


class RayPool:
    """Answers items on the actors of the cluster that this process is connected to.

    A node that joins gets actors, and the rows of an actor that ends go to others. As in
    `WorkerPool`, rows whose engine died are retried alone, and `failure` makes the record of one
    that kills another. `clock` gives the timings that each record gets here. `requested` is the
    number of actors on each node.

    One thread takes the items, and all that happens is an event for the thread of the caller,
    which alone decides what is done next.
    """

    def __init__(
        self,
        job: ActorJob,
        failure: Callable[[WorkItem, MistralCliError], Record],
        clock: Callable[[], dict[str, float]],
        progress: BatchProgress,
        reporter: Reporter,
        *,
        requested: int | None,
        uses_gpu: bool,
    ) -> None:
        self._failure, self._clock, self._progress = failure, clock, progress
        self._events = SimpleQueue[_Event]()
        self._places = _Places()
        self._waiting = deque[RowOnTheWay]()  # rows that were read, and those of ended actors
        self._suspects = deque[RowOnTheWay]()
        self._numbers, self._exhausted = 0, False
        self._error: BaseException | None = None  # of the items, after those that came
        self._fleet = ActorFleet(
            job,
            reporter,
            requested=requested,
            uses_gpu=uses_gpu,
            on_nodes=lambda nodes: self._events.put(_Listing(nodes)),
            on_result=lambda actor, future: self._events.put(_Result(actor, future)),
        )

    @property
    def actors(self) -> int:
        """The number of actors whose model is open."""
        return len(self._fleet.ready)

    def records(
        self, items: Iterable[WorkItem], tick: Callable[[], None]
    ) -> Generator[Record, None, None]:
        """See `Pool`. Raises EngineFailed if no node can run actors."""
        threading.Thread(target=self._take, args=(items,), daemon=True, name="items").start()
        at_once = True
        with on_stop(lambda number: self._events.put(_Stop(number))):
            try:
                while not self._exhausted or self._is_busy:
                    self._fleet.check_contact()
                    self._hand_out()
                    tick()
                    with contextlib.suppress(Empty):
                        yield from self._handle(self._events.get(timeout=_TICK_SECONDS))
                        while True:
                            yield from self._handle(self._events.get_nowait())
                if self._error:
                    raise self._error
                at_once = False
            finally:
                self._places.close()
                self._fleet.close(at_once=at_once)

    @property
    def _is_busy(self) -> bool:
        return bool(
            self._waiting or self._suspects or any(each.rows for each in self._fleet.actors)
        )

    def _take(self, items: Iterable[WorkItem]) -> None:
        """Take items while there is room for them; in a thread, since the next may come late."""
        error: BaseException | None = None
        try:
            for item in items:
                if not self._places.take():
                    return
                self._events.put(RowOnTheWay(item))
        except BaseException as raised:
            error = raised
        self._events.put(_NoMoreItems(error))

    # What happens

    def _handle(self, event: _Event) -> Iterator[Record]:
        match event:
            case RowOnTheWay(item):
                if error := item.error or item.row.error:  # and its pickle would lose the hint
                    yield self._finish(self._failure(item, error))
                else:
                    self._waiting.append(event)
            case _NoMoreItems(error):
                self._exhausted, self._error = True, error
            case _Stop(number):
                request_stop(number)
            case _Listing(nodes):
                if isinstance(nodes, MistralCliError):
                    raise nodes
                self._fleet.update(nodes)
            case _Result(actor, future):
                if actor in self._fleet.actors:
                    yield from self._handle_result(actor, future)

    def _handle_result(self, actor: RemoteActor, future: Any) -> Iterator[Record]:
        if (error := future.exception()) is not None:
            yield from self._lose(actor, error)
            return
        match future.result():
            case ActorReady() as ready:
                self._fleet.opened(actor, ready)
                self._places.add(_AHEAD * actor.slots)
            case RemoteError() as refusal:
                self._fleet.refused(actor, refusal.error())
            case Finished() as finished:
                actor.taking = False
                for tokens in finished.answers:
                    self._progress.count_answer(tokens)
                if finished.in_chunks:
                    self._progress.count_chunks()
                self._fleet.warn(actor, finished.warnings)
                yield from self._settle(actor, finished)
                if actor.deaths >= _MAX_DEATHS * actor.slots:
                    error = EngineFailed("its engine keeps crashing", hint="")
                    yield from self._lose(actor, error)
            case None:  # rows have arrived
                pass

    # Rows on their way out

    def _hand_out(self) -> None:
        """Give each actor as many rows as it may have; one of them runs a suspect alone."""
        alone = self._actor_for_suspect()
        if alone and self._suspects and not alone.rows:
            self._give(alone, [self._suspects.popleft()])
        for actor in self._fleet.ready:
            if actor is not alone:
                count = min(actor.capacity, len(self._waiting))
                self._give(actor, [self._waiting.popleft() for _ in range(count)])
            if actor.rows and not actor.taking:
                actor.taking = True
                self._fleet.call(actor, actor.handle.take)

    def _actor_for_suspect(self) -> RemoteActor | None:
        """The actor that gets no other rows, because a suspect runs there, or is to."""
        ready = self._fleet.ready
        for each in ready:
            if any(map(_is_alone, each.rows.values())):
                return each
        return min(ready, key=lambda each: len(each.rows), default=None) if self._suspects else None

    def _give(self, actor: RemoteActor, rows: list[RowOnTheWay]) -> None:
        if not rows:
            return
        numbered = list(enumerate(rows, start=self._numbers))
        self._numbers += len(rows)
        actor.rows.update(numbered)
        # Without its prompt, which the actor builds as well.
        given = [(number, replace(row.item, prompt=None)) for number, row in numbered]
        self._fleet.call(actor, actor.handle.give, given)

    # Rows on their way back

    def _settle(self, actor: RemoteActor, finished: Finished) -> Iterator[Record]:
        """Yield the records of finished rows; a row that an engine died of becomes a suspect."""
        for number, outcome in finished.outcomes:
            row = actor.rows.pop(number)
            if isinstance(outcome, RemoteError):
                actor.deaths += 1
                if _is_alone(row):
                    yield self._finish(self._failure(row.item, outcome.error()))
                else:
                    row.suspicion = outcome.message
                    self._suspects.append(row)
                continue
            actor.deaths = 0
            actor.state.answer()
            record = {**outcome, "timings": {**outcome["timings"], **self._clock()}}
            if row.suspicion:
                warning = f"{row.suspicion}; the row was retried"
                record["warnings"] = [*record["warnings"], warning]
            yield self._finish(record)

    def _finish(self, record: Record) -> Record:
        self._places.add(1)
        return record

    def _lose(self, actor: RemoteActor, error: BaseException) -> Iterator[Record]:
        """Take back the rows of an actor that ended, or must."""
        reason = self._fleet.lost(actor, error)
        self._places.add(-_AHEAD * actor.slots)
        for row in actor.rows.values():
            was_alone = _is_alone(row)
            row.losses += 1
            if was_alone and row.losses >= 2 * _MAX_LOSSES:
                message = f"{row.losses} actors ended while they processed the row: {reason}"
                hint = "Try it without --ray, with a smaller -c or --parallel 1."
                yield self._finish(self._failure(row.item, EngineDied(message, hint=hint)))
            elif _is_alone(row):
                self._suspects.append(row)
            else:
                self._waiting.appendleft(row)


def _is_alone(row: RowOnTheWay) -> bool:
    """Whether it is to be the only row of its actor, so that an end is its fault."""
    return bool(row.suspicion) or row.losses >= _MAX_LOSSES


class _Places:
    """How many rows may be read and not finished: as many as the actors have places for."""

    def __init__(self) -> None:
        self._free, self._is_closed = 0, False
        self._changed = threading.Condition()

    def take(self) -> bool:
        """Wait for a free place and take it; False if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or self._is_closed)
            self._free -= 1
            return not self._is_closed

    def add(self, count: int) -> None:
        """Add free places. A negative number takes away some that may still be in use."""
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def close(self) -> None:
        """End the wait in `take`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
