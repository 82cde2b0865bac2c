from __future__ import annotations

from queue import SimpleQueue
from threading import Event

import pytest

from mistral_cli.system.threads import drain, start_workers


def queue_of(*items: int) -> SimpleQueue[int]:
    queue = SimpleQueue[int]()
    for item in items:
        queue.put(item)
    return queue


def test_every_item_is_reported_with_its_outcome_and_every_thread_with_none() -> None:
    def invert(number: int) -> float:
        return 1 / number

    reports: SimpleQueue[tuple[int, float | BaseException] | None] = SimpleQueue()
    start_workers(invert, queue_of(0, 1, 2), reports.put, threads=2)
    received = [reports.get(timeout=10) for _ in range(5)]
    outcomes = dict(report for report in received if report)
    assert received.count(None) == 2
    assert (outcomes[1], outcomes[2]) == (1, 0.5)
    assert isinstance(outcomes[0], ZeroDivisionError)


def test_a_drained_queue_ends_the_threads() -> None:
    blocked, todo = Event(), queue_of(1, 2, 3)
    reports: SimpleQueue[tuple[int, bool | BaseException] | None] = SimpleQueue()
    start_workers(lambda _: blocked.wait(10), todo, reports.put, threads=1)
    left = drain(todo)
    blocked.set()
    received = [reports.get(timeout=10)]
    while received[-1] is not None:
        received.append(reports.get(timeout=10))
    worked = [report[0] for report in received if report]
    assert worked + left == [1, 2, 3]


@pytest.mark.parametrize("items", [(), (1, 2)])
def test_drain_returns_what_was_left(items: tuple[int, ...]) -> None:
    queue = queue_of(*items)
    assert drain(queue) == list(items)
    assert queue.empty()
