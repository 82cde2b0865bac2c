"""Our side of the process of an engine: start it, call it, and find out how it ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import queue
import select
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.isolated.children import DEATH_HINT, child_command, describe_exit
from mistral_cli.engines.isolated.messages import (
    Call,
    Cancel,
    LoadWarning,
    ModelOpened,
    OpenModel,
    RemoteError,
    Reply,
)
from mistral_cli.engines.load_failure import load_crash
from mistral_cli.errors import EngineDied, EngineFailed, LimitReached, first_line
from mistral_cli.system.files import scratch_folder

if TYPE_CHECKING:
    from mistral_cli.engines.types import Request, ScoreRequest

_STUCK_SECONDS = 30.0
"""A call that is cancelled ends after the current batch: seconds, on a slow machine."""

_CHECK_SECONDS = 1.0
_LOG_BYTES = 8192


class EngineProcess:
    """A process that opens a model. Safe for use by several threads.

    The terminal's Ctrl-C does not reach it. It ends when we do, however we end.
    """

    def __init__(self) -> None:
        """Start it. Raises EngineFailed if that is not possible."""
        self._numbers = itertools.count()
        self._replies: dict[int, queue.SimpleQueue[Reply | None]] = {}
        self._leaving: dict[int, float] = {}
        self._death: str | None = None
        self._stuck = self._closed = False
        self._end_reason = ""
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._resources = contextlib.ExitStack()
        try:
            self._log = self._resources.enter_context(scratch_folder()) / "stderr"
            self._connection, self._process = self._start()
        except BaseException:
            self.close()
            raise

    def open(self, opening: OpenModel, warn: Callable[[str], None]) -> None:
        """Have it open a model, and wait for that.

        Raises whatever `open_engine` raises there, ModelUnusable if the engine crashes on the file,
        and EngineDied if the process ends in another way.
        """
        try:
            self.opened = self._open(opening, warn)
        except BaseException:
            self.close()
            raise
        self._reader = threading.Thread(target=self._read, daemon=True, name="engine-process")
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether it can still be called, as far as we know."""
        return self._death is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def call(
        self, argument: Request | ScoreRequest | str, *, announced: bool = True
    ) -> tuple[int, queue.SimpleQueue[Reply | None]]:
        """The number of the call, and the queue of its replies; None there: the process died.

        `announced` as in Call.
        """
        answers: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            if self.alive:
                self._replies[number] = answers
            else:
                answers.put(None)
        self._send(Call(number, argument, announced))
        return number, answers

    def cancel(self, number: int) -> None:
        """Stop the work on that call, if it goes on, and kill the process if it does not stop."""
        with self._lock:
            if number not in self._replies:
                return
            self._leaving[number] = time.monotonic() + _STUCK_SECONDS
        self._send(Cancel(number))

    def died(self) -> EngineFailed:
        """The error for calls that were not complete."""
        if self._closed:
            return EngineFailed("the model is closed", hint="Open it again.")
        return EngineDied(self._death or "the engine's process has ended", hint=DEATH_HINT)

    def end(self, reason: str) -> None:
        """End it for a `reason` that its next caller reads, as if it had died of that."""
        self._end_reason = reason
        self._process.kill()
        self._reader.join()

    def close(self) -> None:
        """End it. Safe to call twice."""
        # Readers that have not noticed its death yet must still get that error.
        self._closed = self._closed or self.alive
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()
        if hasattr(self, "_reader") and self._reader is not threading.current_thread():
            self._reader.join()
        self._resources.close()

    def _start(self) -> tuple[Connection[Any, Any], subprocess.Popen[bytes]]:
        ours, theirs = Pipe()
        self._resources.callback(ours.close)
        life, our_life = os.pipe()
        self._resources.callback(os.close, our_life)
        command, environment = child_command(
            "mistral_cli.engines.isolated.child", theirs.fileno(), life
        )
        # Its temporary files go into our folder, which also goes if it is killed.
        environment["TMPDIR"] = str(self._log.parent)
        try:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    pass_fds=(theirs.fileno(), life),
                    start_new_session=True,
                )
        except OSError as error:
            raise LimitReached(
                f"cannot start a process for the engine: {first_line(error)}",
                hint="Close other programs.",
            ) from error
        finally:
            theirs.close()
            os.close(life)
        return ours, process

    def _open(self, opening: OpenModel, warn: Callable[[str], None]) -> ModelOpened:
        try:
            # What a library writes before it ends the process stays in our log.
            options = replace(opening.options, log_file=self._log)
            self._connection.send(replace(opening, options=options))
            while isinstance(message := self._connection.recv(), LoadWarning):
                warn(message.text)
        except (EOFError, OSError) as error:
            self._death = self._how_it_ended()
            # With layers on a GPU, its memory is the more likely reason.
            on_cpu = not opening.options.gpu_layers
            crash = load_crash(opening.path, self._process.returncode, self._death)
            raise (crash if crash and on_cpu else self.died()) from error
        if isinstance(message, RemoteError):
            raise message.error()
        opened: ModelOpened = message
        return opened

    def _send(self, message: Call | Cancel) -> None:
        # If the process has died, the reading thread finds out and tells all callers.
        with self._sending, contextlib.suppress(OSError):
            # `Connection.send` makes a pickler with tables of its own each time.
            self._connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def _read(self) -> None:
        """Hand out replies until the pipe closes; then tell everyone who waits."""
        waiter = select.poll()  # Connection.poll makes a selector for each call
        waiter.register(self._connection.fileno(), select.POLLIN)
        try:
            while True:
                if waiter.poll(1000 * _CHECK_SECONDS):
                    for number, answer, is_last in self._connection.recv():
                        self._hand_out(number, answer, is_last=is_last)
                self._kill_if_stuck()
        except (EOFError, OSError):
            pass
        except Exception:  # a message of another version of the program
            self._process.kill()
        death = self._how_it_ended()
        with self._lock:
            self._death = death
            waiting, self._replies = self._replies, {}
        for answers in waiting.values():
            answers.put(None)

    def _hand_out(self, number: int, answer: Reply, *, is_last: bool) -> None:
        with self._lock:
            answers = self._replies[number]
            if is_last:
                del self._replies[number]
                self._leaving.pop(number, None)
        answers.put(answer)

    def _kill_if_stuck(self) -> None:
        with self._lock:
            overdue = any(until < time.monotonic() for until in self._leaving.values())
        if overdue:
            self._stuck = True
            self._process.kill()

    def _how_it_ended(self) -> str:
        try:
            status = self._process.wait(_STUCK_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._end_reason:
            return self._end_reason
        if self._stuck:
            return "the engine did not stop when asked to, and was killed"
        return describe_exit(status, _end_of(self._log))


def _end_of(log: Path) -> str:
    try:
        return log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
    except OSError:
        return ""
