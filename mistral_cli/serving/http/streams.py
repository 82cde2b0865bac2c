"""An engine's blocking streams as asynchronous ones, as many at once as there are slots."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.reasoning import SessionCalls, stream_answer
from mistral_cli.engines.stop_texts import until_stop
from mistral_cli.serving.http.errors import ApiError
from mistral_cli.system.interruption import Interruption

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Session
    from mistral_cli.engines.types import Event, Request
    from mistral_cli.serving.http.closing import JsonClosing


class AsyncStreams:
    """Streams of `session`, which has `slots`; further ones wait for their turn.

    For use in one event loop; `stop` may be called by another thread.
    """

    def __init__(self, session: Session, slots: int) -> None:
        self._calls = SessionCalls(session.stream, session.tokenize)
        self._free = asyncio.Semaphore(slots)
        self.slots = slots
        self._running: set[_StreamThread] = set()
        self._stopped = False

    async def events(
        self, request: Request, stop: Sequence[str], closing: JsonClosing | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of `request` until a `stop` text; closing this frees the slot.

        `closing` is for JSON that shall be closed where it reaches the limit, in the same slot.
        Raises what the stream raises, and ApiError once the server stops.
        """
        await self._free.acquire()
        if self._stopped:
            self._free.release()
            raise _stopping()
        if closing:
            call = self._start(lambda: closing.events(self._calls, request, stop))
        else:
            call = self._start(lambda: until_stop(stream_answer(self._calls, request), stop))
        self._running.add(call)
        try:
            while not self._stopped and (event := await call.events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
            if self._stopped:
                raise _stopping()
        finally:
            self._running.discard(call)
            call.leave()

    def _start(self, stream: Callable[[], Generator[Event, None, None]]) -> _StreamThread:
        """Start a stream, which frees the slot at its end, or now if no thread starts."""
        try:
            return _StreamThread(stream, on_end=self._free.release)
        except BaseException:
            self._free.release()
            raise

    def stop(self) -> None:
        """End all streams, those that wait too."""
        self._stopped = True
        for call in list(self._running):
            call.end()


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping", code="server_stopping")


class _StreamThread:
    """One stream in a thread of its own, which hands its events to the event loop.

    A daemon thread: a process that ends must not wait for it.
    """

    def __init__(
        self, start: Callable[[], Generator[Event, None, None]], on_end: Callable[[], None]
    ) -> None:
        self.events: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        self._interruption = Interruption()
        self._left = False
        self._start, self._on_end = start, on_end
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, daemon=True, name="http-stream").start()

    def leave(self) -> None:
        """Stop the stream, whose reader has left."""
        self._left = True
        self._interruption.interrupt()

    def end(self) -> None:
        """Let the reader find the end of the events now."""
        self._in_loop(self.events.put_nowait, None)

    def _work(self) -> None:
        try:
            with self._interruption.within(), contextlib.closing(self._start()) as events:
                for event in events:
                    if self._left:
                        return
                    self._in_loop(self.events.put_nowait, event)
            self.end()
        except BaseException as error:
            self._in_loop(self.events.put_nowait, error)
        finally:
            self._in_loop(self._on_end)

    def _in_loop(self, action: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it every reader
            self._loop.call_soon_threadsafe(action, *arguments)
