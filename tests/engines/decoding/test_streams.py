"""`ThreadedStreams`: what ends a stream, and when."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from mistral_cli.engines.decoding.streams import Emit, StreamStopped, ThreadedStreams
from mistral_cli.engines.types import TextDelta
from mistral_cli.system.interruption import Interruption, on_interruption


def test_interrupting_the_reader_ends_what_its_call_waits_for() -> None:
    interruption, read = Interruption(), list[str]()
    waiting, ended = threading.Event(), threading.Event()
    replies: SimpleQueue[None] = SimpleQueue()

    def call(emit: Emit, _: int) -> None:
        emit(TextDelta("a"))
        with on_interruption(lambda: replies.put(None)):
            waiting.set()
            replies.get()  # as for the next token of a server
        ended.set()
        raise StreamStopped

    def reader() -> None:
        with interruption.within():
            for event in ThreadedStreams().run(call):
                assert isinstance(event, TextDelta)
                read.append(event.text)

    thread = threading.Thread(target=reader)
    thread.start()
    assert waiting.wait(10)
    interruption.interrupt()
    thread.join(10)
    assert ended.wait(10)
    assert read == ["a"]


def test_one_stream_too_many_interrupts_the_oldest() -> None:
    streams, replies = ThreadedStreams(slots=1), SimpleQueue[None]()

    def waits(emit: Emit, _: int) -> None:
        emit(TextDelta("first"))
        with on_interruption(lambda: replies.put(None)):
            replies.get()
        raise StreamStopped

    first = streams.run(waits)
    assert next(first) == TextDelta("first")

    def answers(emit: Emit, _: int) -> None:
        emit(TextDelta("second"))

    second = streams.run(answers)
    assert list(second) == [TextDelta("second")]
    assert list(first) == []
