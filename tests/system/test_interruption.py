from __future__ import annotations

import threading
from queue import SimpleQueue

from mistral_cli.system.interruption import Interruption, on_interruption


def test_another_thread_ends_what_this_one_waits_for() -> None:
    interruption, ready, seen = Interruption(), threading.Event(), list[str | None]()
    items: SimpleQueue[str | None] = SimpleQueue()

    def wait() -> None:
        with interruption.within(), on_interruption(lambda: items.put(None)):
            ready.set()
            seen.append(items.get())

    thread = threading.Thread(target=wait)
    thread.start()
    assert ready.wait(10)
    interruption.interrupt()
    thread.join(10)
    assert seen == [None]


def test_what_begins_after_the_interruption_ends_at_once() -> None:
    interruption, actions = Interruption(), list[int]()
    interruption.interrupt()
    with interruption.within(), on_interruption(lambda: actions.append(1)):
        assert actions == [1]


def test_what_has_ended_is_not_interrupted() -> None:
    interruption, actions = Interruption(), list[int]()
    with interruption.within(), on_interruption(lambda: actions.append(1)):
        pass
    with on_interruption(lambda: actions.append(2)):  # outside
        interruption.interrupt()
    assert actions == []
