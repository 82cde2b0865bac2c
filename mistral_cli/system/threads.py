"""Daemon threads that work through a queue.

Not a ThreadPoolExecutor: leaving it waits for the work in progress, even after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def start_workers(
    work: Callable[[Item], Outcome],
    todo: SimpleQueue[Item],
    report: Callable[[tuple[Item, Outcome | BaseException] | None], None],
    threads: int,
) -> None:
    """Start threads that take items from `todo` until it is empty.

    Each item is reported with what `work` returned or raised; None is reported by each thread
    that ends. Empty `todo` (`drain`) to end the threads early.
    """

    def run() -> None:
        with contextlib.suppress(Empty):
            while True:
                item = todo.get_nowait()
                try:
                    outcome: Outcome | BaseException = work(item)
                except BaseException as error:
                    outcome = error
                report((item, outcome))
        report(None)

    for _ in range(threads):
        threading.Thread(target=run, daemon=True).start()


def drain(todo: SimpleQueue[Item]) -> list[Item]:
    """Remove and return everything in the queue."""
    items = list[Item]()
    with contextlib.suppress(Empty):
        while True:
            items.append(todo.get_nowait())
    return items
