"""Runs commands with a time limit; their output goes to the log of the check."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class StepFailed(Exception):
    """A step found something wrong; the message is for the report."""


class StepSkipped(Exception):
    """A step that does not apply to this machine; the message says why."""


@dataclass(frozen=True)
class Finished:
    """A command that ended: its exit status, its output and its time in seconds."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    def json(self) -> dict[str, Any]:
        """The object on stdout. Raises StepFailed if the command failed or printed none."""
        if self.status:
            raise StepFailed(f"exit code {self.status}: {self.last_words()}")
        try:
            return dict(json.loads(self.stdout))
        except ValueError as error:
            raise StepFailed(f"it printed no JSON: {self.stdout[:80]!r}") from error

    def last_words(self) -> str:
        """The last error that it printed, or else its last line."""
        lines = [line.strip() for line in (self.stderr or self.stdout).splitlines()]
        lines = [line for line in lines if line]
        errors = [line for line in lines if "error:" in line.lower()]
        return (errors or lines or ["no message"])[-1][:300]


class Shell:
    """Runs commands until a deadline (`time.monotonic`), and logs them in a file."""

    def __init__(self, log: Path, deadline: float) -> None:
        self._log, self.deadline = log, deadline

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def say(self, line: str) -> None:
        """Add a line to the log."""
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def run(
        self,
        command: Sequence[object],
        seconds: float,
        env: Mapping[str, str | None] | None = None,
    ) -> Finished:
        """Run `command` for at most `seconds`, and end its whole process group after that.

        `env` is added to the environment; None removes a variable. Raises StepFailed when it runs
        too long or cannot start. A command is asked to end first, so that it can clean up.
        """
        seconds = max(1.0, min(seconds, self.left()))
        words = [*map(str, command)]
        whole = {**os.environ, **(env or {})}
        self.say(f"$ {shlex.join(words)}")
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: value for name, value in whole.items() if value is not None},
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise StepFailed(f"{words[0]} cannot be started: {error.strerror}") from error
        with _ended(process):
            try:
                stdout, stderr = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as error:
                raise StepFailed(f"{words[0]} took more than {seconds:.0f} s") from error
        taken = time.monotonic() - started
        for text in (stdout, stderr):
            if text.strip():
                self.say(text.rstrip())
        self.say(f"exit code {process.returncode} after {taken:.1f} s")
        return Finished(process.returncode, stdout, stderr, taken)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the group of `process` with the block, if it still runs then."""
    try:
        yield
    finally:
        if process.poll() is None:
            for sign, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=seconds)
                    break
